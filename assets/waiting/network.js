"use strict";
// The waiting page's requests to the server. Extensions and policies of browsers remove interfaces or replace them with
// ones that throw: both count as a failed request.

const ANSWER_S = 10; // longest wait for an answer

/** Asks for `address`. `done` gets the status, 0 for none, and the text. */
function request(address, done) {
  let answered = false;
  const answer = (status, text) => {
    if (answered) return;
    answered = true;
    done(status, text);
  };
  try {
    const asking = new XMLHttpRequest();
    asking.onload = () => answer(asking.status, asking.responseText);
    asking.onerror = asking.ontimeout = asking.onabort = () => answer(0, "");
    asking.open("GET", address);
    asking.timeout = ANSWER_S * 1000;
    asking.send();
  } catch (error) {
    answer(0, "");
  }
}

/** Calls `done` if the picture at `address` can be loaded. */
function requestPicture(address, done) {
  try {
    const picture = new Image();
    picture.onload = done;
    picture.src = address;
  } catch (error) {
    // A failed image load counts the same: it says nothing about the server.
  }
}

/** Opens the stream at `address`. Returns null where the browser has no streams, as Microsoft's in 2017, or throws. */
function openStream(address, heard, failed) {
  let opened = null;
  try {
    opened = new window["EventSource"](address);
    opened.onmessage = ({ data }) => heard(data);
    opened.onerror = failed;
    return opened;
  } catch (error) {
    closeStream(opened);
    return null;
  }
}

function closeStream(opened) {
  try {
    if (opened) opened.close();
  } catch (error) {
    // Later messages of this stream are ignored.
  }
}
