"use strict";
// Brings the page up to date by itself: fetches it again, and changes in place what has changed. So the focus, the
// selection and what is being typed stay as they are. No text ever becomes markup here: the browser parses the answer
// as a document of its own, in which nothing runs.
(() => {
  const every = 1000 * Number(document.body.dataset.everyS);
  const notice = document.getElementById("notice");
  const pause = document.getElementById("pause");
  let timer = 0;
  let asked = null;
  let isPaused = false;
  let heardAt = new Date();

  function key(node) {
    return node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined;
  }

  function match(fresh, place, keyed) {
    const found = key(fresh) === undefined ? place : keyed.get(key(fresh));
    const fits = found && found.nodeName === fresh.nodeName && key(found) === key(fresh);
    return fits ? found : null;
  }

  function update(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const keyed = new Map([...old.children].filter((child) => key(child) !== undefined).map((child) => [key(child), child]));
    let place = old.firstChild;
    for (const child of fresh.childNodes) {
      const kept = match(child, place, keyed);
      if (!kept) {
        old.insertBefore(document.importNode(child, true), place);
      } else {
        if (kept === place) place = place.nextSibling;
        else old.insertBefore(kept, place);
        update(kept, child);
      }
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  }

  function show(fresh) {
    const focused = document.activeElement;
    update(document.getElementById("live"), fresh.getElementById("live"));
    if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    document.title = fresh.title;
    heardAt = new Date();
    if (notice.textContent) notice.textContent = "";
  }

  function later() {
    clearTimeout(timer);
    if (!isPaused && !document.hidden) timer = setTimeout(ask, every);
  }

  function ask() {
    if (asked) return;
    asked = new XMLHttpRequest();
    asked.open("GET", location.href);
    asked.responseType = "document";
    asked.timeout = 10000;
    asked.onloadend = () => {
      const answer = asked.response;
      asked = null;
      if (!isPaused && answer && answer.getElementById("live")) show(answer);
      else if (!isPaused) notice.textContent = `No answer since ${heardAt.toLocaleTimeString()}; retrying.`;
      later();
    };
    asked.send();
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Go on updating" : "Pause updates";
    notice.textContent = isPaused ? `As of ${heardAt.toLocaleTimeString()}.` : "";
    if (isPaused) clearTimeout(timer);
    else ask();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (!isPaused) ask();
  });
  later();
})();
