// Reloads the waiting page if its script is blocked, broken or too new for the browser. It is inline in the page,
// allowed by its hash alone (src/web/pages/assets.rs). Browsers older than any that the script supports must run it, so
// it uses the syntax of 1999. The script calls watchdog(seconds) as long as it lives.
var watchdog = (function () {
  var own = document.getElementById("watchdog");
  var again = 30;
  var timer;
  function goOn() {
    watch(again);
    if (navigator.onLine !== false) location.replace(own.getAttribute("data-url"));
  }
  function watch(seconds) {
    clearTimeout(timer);
    timer = setTimeout(goOn, seconds * 1000);
  }
  watch(Number(own.getAttribute("data-seconds")));
  return watch;
})();
