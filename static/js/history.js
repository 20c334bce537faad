// The slider shows the chosen change as soon as it is let go; without this file the button beside it does.
(() => {
  const form = document.querySelector("[data-scrub]");
  if (!form) return;
  form.querySelector("[data-scrub-go]").hidden = true;
  form.addEventListener("change", () => form.requestSubmit());
})();
