"use strict";
// The code of a link is after its `#`, which is never sent. It moves into the form and leaves the
// address.
const code = document.querySelector("input[name=code]");
if (code && location.hash.length > 1) {
  code.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}

// A live part of a page is replaced by what the service sends. A hidden page listens to nothing.
const live = document.querySelector("[data-live]");
let source = null;
function follow() {
  if (!live || document.hidden || source) return;
  source = new EventSource(live.dataset.live);
  source.onmessage = (message) => {
    const focus = document.activeElement;
    if (!(focus && live.contains(focus))) live.innerHTML = JSON.parse(message.data);
  };
  source.addEventListener("end", () => { source.close(); source = null; });
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden && source) { source.close(); source = null; }
  else follow();
});
window.addEventListener("pagehide", () => { if (source) { source.close(); source = null; } });
window.addEventListener("pageshow", follow);
follow();

// An upload shows its progress. Without this the form is sent as it is.
const upload = document.querySelector("form[data-upload]");
if (upload) {
  const file = upload.querySelector("input[type=file]");
  const bar = upload.querySelector("progress");
  for (const kind of ["dragover", "dragleave", "drop"]) {
    upload.addEventListener(kind, (event) => {
      event.preventDefault();
      upload.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) file.files = event.dataTransfer.files;
    });
  }
  upload.addEventListener("submit", (event) => {
    event.preventDefault();
    const request = new XMLHttpRequest();
    const button = upload.querySelector("button[type=submit]");
    button.disabled = true;
    bar.hidden = false;
    request.upload.onprogress = (seen) => {
      if (seen.lengthComputable) { bar.max = seen.total; bar.value = seen.loaded; }
    };
    request.onload = () => {
      if (request.status < 400) { location.assign(request.responseURL); return; }
      const page = new DOMParser().parseFromString(request.responseText, "text/html");
      document.querySelector("main").replaceWith(page.querySelector("main"));
      document.querySelector("main").scrollIntoView();
    };
    request.onerror = () => { button.disabled = false; bar.hidden = true; upload.submit(); };
    request.open("POST", upload.action);
    request.send(new FormData(upload));
  });
}
