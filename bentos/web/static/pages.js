// What the search form can do beside HTML: take a photograph that is dragged or pasted, show it, and search at once.
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const form = document.getElementById("search");
  const results = document.getElementById("results");
  if (!form || !results) return;
  const input = document.getElementById("picture");
  const drop = document.getElementById("drop");
  const preview = document.getElementById("preview");
  const clear = document.getElementById("clear");
  const name = document.getElementById("file");
  const status = document.getElementById("status");

  function show() {
    const file = input.files[0];
    if (preview.src) URL.revokeObjectURL(preview.src);
    preview.removeAttribute("src");
    if (file) preview.src = URL.createObjectURL(file);
    preview.hidden = clear.hidden = !file;
    name.textContent = file ? file.name : "";
  }

  function take(files) {
    const picture = Array.from(files).find((file) => file.type.startsWith("image/"));
    if (!picture) return false;
    const one = new DataTransfer();
    one.items.add(picture);
    input.files = one.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    return true;
  }

  input.addEventListener("change", () => {
    show();
    if (input.files.length) form.requestSubmit();
  });
  clear.addEventListener("click", () => {
    input.value = "";
    show();
    results.replaceChildren();
    input.focus();
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer) take(event.dataTransfer.files);
    });
  }
  document.addEventListener("paste", (event) => {
    if (event.clipboardData && take(event.clipboardData.files)) event.preventDefault();
  });
  // The photograph with the lines that were read on it; the service keeps no photograph, but this page has it.
  function showLines() {
    const shown = results.querySelector(".read .shown");
    if (!shown || !preview.src) return;
    const picture = new Image();
    picture.src = preview.src;
    picture.alt = preview.alt;
    shown.replaceChildren(picture);
    for (const line of results.querySelectorAll("[data-box]")) {
      const [left, top, right, bottom] = line.dataset.box.split(" ").map((share) => 100 * Number(share));
      const box = document.createElement("span");
      box.className = `box ${line.className}`;
      Object.assign(box.style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
      shown.append(box);
    }
  }

  // A screen reader hears how many products were found; the focus stays where it is.
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target !== results) return;
    status.textContent = results.querySelector("#found")?.textContent ?? "";
    showLines();
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(input|select|textarea)$/i.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      document.getElementById("words").focus();
    }
  });
  show();
})();
