// Small comforts; every form works without them.

// <form data-send-once>: the second click of a double click is not sent.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-send-once]")) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
});

// Coming back with the browser's button shows the page as it was left; the form may be sent again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent;
});
