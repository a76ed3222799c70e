// News of the station, as long as the page is seen: a browser has six connections to a server, and each tab would hold one.

const REFUSED_PAUSE = 10_000; // ms

/** Calls `heard` with the numbers of changed images, or with null where any may have changed. */
export function listen(heard) {
  const live = document.getElementById("live");
  let source = null, later = 0;
  const open = () => {
    source = new EventSource("/events");
    source.addEventListener("open", () => { live.textContent = "Live"; heard(null); });
    source.addEventListener("change", (event) => heard(JSON.parse(event.data).images));
    source.addEventListener("error", () => {
      live.textContent = "No connection to the station; trying again";
      if (source?.readyState === EventSource.CLOSED) refused(); // it was answered, but not with news
    });
  };
  const refused = () => {
    live.textContent = "Not live; trying again. If this stays, load the page again";
    source = null;
    clearTimeout(later);
    later = setTimeout(follow, REFUSED_PAUSE);
  };
  const follow = () => {
    if (document.hidden) { source?.close(); source = null; } else if (!source) { open(); }
  };
  document.addEventListener("visibilitychange", follow);
  addEventListener("pagehide", () => { source?.close(); source = null; });
  addEventListener("pageshow", follow);
  follow();
}

/** `act` at once, then at most every `pause` ms, and never twice at a time; what comes meanwhile is done once at its end. */
export function calmly(act, pause) {
  let busy = false, again = false;
  return async function run() {
    if (busy) { again = true; return; }
    busy = true;
    try { await act(); } catch (failure) { if (!(failure instanceof TypeError)) throw failure; } // no connection
    await new Promise((done) => setTimeout(done, pause));
    busy = false;
    if (again) { again = false; run(); }
  };
}
