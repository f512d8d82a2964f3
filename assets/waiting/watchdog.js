// Goes on from the waiting page should nobody else: where the page's script is blocked, broken or too new for the browser.
// It stands inline in the page, allowed by its hash alone (src/web/pages/assets.rs). Older browsers than any that the
// script is for must run it, so it is written as in 1999. The script calls watchdog(seconds) as long as it lives.
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
