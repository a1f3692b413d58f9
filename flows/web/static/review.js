// Keys of the review pages; without this script the buttons do the same.
(() => {
  "use strict";
  const page = document.documentElement;
  const form = document.getElementById("decide");
  const edited = document.getElementById("edited");
  const button = document.getElementById("keys");
  const stored = "entityclip-review-keys";
  let sent = false;

  function keysAreOn() {
    try {
      return localStorage.getItem(stored) !== "off";
    } catch {
      return true;
    }
  }

  function show() {
    page.classList.toggle("keys", keysAreOn());
    if (!button) return;
    button.textContent = keysAreOn() ? button.dataset.off : button.dataset.on;
    button.setAttribute("aria-pressed", String(keysAreOn()));
  }

  page.classList.add("js");
  show();
  if (button) {
    button.addEventListener("click", () => {
      try {
        localStorage.setItem(stored, keysAreOn() ? "off" : "on");
      } catch {
        // without storage, keys stay on
      }
      show();
    });
  }
  if (!form) return;
  // The buttons for several texts say how many are ticked; the item itself always counts.
  const boxes = Array.from(document.querySelectorAll(".cases input"));
  function count() {
    const ticked = 1 + boxes.filter((box) => box.checked).length;
    for (const label of document.querySelectorAll("[data-counted]")) {
      label.textContent = label.dataset.counted.replace("{count}", ticked);
    }
  }
  form.addEventListener("change", count);
  count();
  // One key press is one decision, however long the next page takes.
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    sent = true;
  });
  window.addEventListener("pageshow", () => {
    sent = false;
  });
  if (edited) {
    edited.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        document.getElementById("correct").click();
      }
      if (event.key === "Escape") edited.blur();
    });
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || !keysAreOn()) return;
    const target = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (!target) return;
    event.preventDefault();
    if (target === edited) {
      edited.focus();
      edited.setSelectionRange(edited.value.length, edited.value.length);
    } else if (target.dataset.then === "enter") {
      target.focus(); // many decisions at once need a second key
    } else {
      target.click();
    }
  });
})();
