// Keys of the review pages, and decisions that exchange the item without loading a page. Without this script the buttons
// and forms do the same.
(() => {
  "use strict";
  const page = document.documentElement;
  const stored = "entityclip-review-keys";
  const said = document.createElement("p");
  let sent = false;
  let shown = location.pathname + location.search;

  const form = () => document.getElementById("decide");

  function keysAreOn() {
    try {
      return localStorage.getItem(stored) !== "off";
    } catch {
      return true;
    }
  }

  function turnKeys() {
    try {
      localStorage.setItem(stored, keysAreOn() ? "off" : "on");
    } catch {
      // without storage, keys stay on
    }
    show();
  }

  function show() {
    page.classList.toggle("keys", keysAreOn());
    const button = document.getElementById("keys");
    if (button) {
      button.textContent = keysAreOn() ? button.dataset.off : button.dataset.on;
      button.setAttribute("aria-pressed", String(keysAreOn()));
    }
    count();
  }

  // The buttons for several texts say how many are ticked; the item itself always counts.
  function count() {
    const ticked = 1 + document.querySelectorAll(".cases input:checked").length;
    for (const label of document.querySelectorAll("[data-counted]")) {
      label.textContent = label.dataset.counted.replace("{count}", ticked);
    }
  }

  // ---------------------------------------------------------------- a decision
  async function send(sender, button) {
    const address = button.hasAttribute("formaction") ? button.formAction : sender.action;
    const body = new URLSearchParams(new FormData(sender));
    if (button.name) body.append(button.name, button.value);
    const main = document.getElementById("content");
    main.setAttribute("aria-busy", "true");
    complain(null);
    try {
      const answer = await fetch(address, { method: "POST", body });
      take(answer, new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      complain(document.getElementById("no-answer").content);
    }
    main.removeAttribute("aria-busy");
    sent = false;
  }

  function take(answer, next) {
    const script = (one) => one.querySelector("script")?.getAttribute("src");
    const known = next.getElementById("decide") && script(next) === script(document);
    if (known) {
      exchange(next, answer.redirected ? answer.url : answer.url.replace(/\/\w+$/, "")); // a refusal shows the review
    } else if (answer.redirected) {
      location.assign(answer.url); // sign-in, an error, or pages that were updated meanwhile
    } else {
      complain(next.querySelector("main .notice") ?? document.getElementById("no-answer").content);
    }
  }

  function exchange(next, address) {
    for (const part of ["body > header", "main"]) {
      document.querySelector(part).replaceWith(document.importNode(next.querySelector(part), true));
    }
    document.title = next.title;
    page.lang = next.documentElement.lang;
    remember(address);
    show();
    scrollTo(0, 0);
    announce();
  }

  // The history is the one that loading the page would leave.
  function remember(address) {
    if (address === location.href) return;
    history.pushState(null, "", address);
    shown = location.pathname + location.search;
  }

  // A screen reader reads the heading of the next item, which gets the focus, and then what was done with the last one.
  function announce() {
    const heading = document.querySelector("#entity") ?? document.querySelector("h1");
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    const status = document.querySelector("main [role=status]");
    status?.removeAttribute("role"); // a region that arrives with its text would be read twice, or never
    said.textContent = "";
    requestAnimationFrame(() => {
      said.textContent = status?.textContent ?? "";
    });
  }

  // What was typed stays, and so does the item.
  function complain(notice) {
    const place = document.getElementById("complaint");
    place.replaceChildren();
    if (!notice) return;
    place.append(document.importNode(notice, true));
    place.firstElementChild.removeAttribute("role"); // the place has it
    place.scrollIntoView({ block: "nearest" });
  }

  // ---------------------------------------------------------------- events
  document.addEventListener("submit", (event) => {
    if (event.target !== form() || !event.submitter) return;
    event.preventDefault();
    if (sent) return; // one key press is one decision, however long the next item takes
    sent = true;
    send(event.target, event.submitter);
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("#keys")) turnKeys();
  });
  document.addEventListener("change", count);
  document.addEventListener("keydown", (event) => {
    const edited = document.getElementById("edited");
    if (edited && event.target === edited) {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        document.getElementById("correct").click();
      }
      if (event.key === "Escape") edited.blur();
    }
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
  window.addEventListener("popstate", () => {
    if (location.pathname + location.search !== shown) location.reload(); // not for the link to the content
  });
  window.addEventListener("pageshow", () => {
    sent = false;
  });

  said.className = "hidden";
  said.setAttribute("role", "status");
  document.body.append(said);
  page.classList.add("js");
  show();
})();
