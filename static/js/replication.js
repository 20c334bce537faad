// The replication page's own part of the refreshing that htmx does: skip a look while nobody watches, tell the server what we
// hold (so that it may answer 304), and say so when the server is lost. Without this file the page is complete and stands still.
(() => {
  const live = document.getElementById("live");
  if (!live) return;

  const pulse = document.querySelector("[data-pulse]");
  const lost = document.querySelector("[data-lost]");
  const RETRY_MS = 2000;
  let etag = live.dataset.etag;
  let lastSeen = new Date();
  let nextTry = 0;

  const isLive = (event) => event.target === live;

  function found() {
    lastSeen = new Date();
    nextTry = 0;
    pulse.hidden = false;
    lost.hidden = true;
    live.classList.remove("live--stale");
  }

  function missing(sentence) {
    nextTry = Date.now() + RETRY_MS;
    pulse.hidden = true;
    live.classList.add("live--stale");
    // Written only when it changes: an alert is read aloud each time.
    if (lost.hidden || lost.dataset.sentence !== sentence) {
      lost.dataset.sentence = sentence;
      lost.textContent = `${sentence} What you see is from ${lastSeen.toISOString().slice(11, 19)} UTC.`;
    }
    lost.hidden = false;
  }

  live.addEventListener("htmx:config:request", (event) => {
    if (!isLive(event)) return;
    if (document.hidden || Date.now() < nextTry) {
      event.preventDefault();
      return;
    }
    event.detail.ctx.request.headers["If-None-Match"] = etag;
  });

  live.addEventListener("htmx:before:response", (event) => {
    if (!isLive(event)) return;
    const { raw, status } = event.detail.ctx.response;
    if (raw.redirected || status === 401 || status === 403) {
      missing("You are no longer logged in: load the page again to log in.");
      event.preventDefault();
    } else if (status === 200 || status === 304) {
      etag = raw.headers.get("ETag") ?? etag;
      found();
    } else {
      missing(`The server answers, but not with this page (${status}). Trying again.`);
      event.preventDefault();
    }
  });

  live.addEventListener("htmx:error", (event) => {
    if (isLive(event)) missing("The page has lost the server. Trying again.");
  });

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) htmx.trigger(live, "every");
  });
})();
