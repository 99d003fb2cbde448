"use strict";
// Unfold hangs clicks on texts and icons. Here each of them is reached by the keyboard and named for screen readers.
(function () {
  const CLICKABLE = "[x-on\\:click]";
  const NATIVE = "a[href], button, input, select, textarea, label, summary, [role='button'], [tabindex]";
  const NAMES = {
    close: "Close", delete: "Remove", expand_more: "Actions", filter_list: "Filters", more_horiz: "Actions", more_vert: "Actions",
    visibility: "Show the password", visibility_off: "Hide the password", arrow_drop_down: "More", chevron_right: "Open",
  };

  function name(element) {
    const icon = element.matches(".material-symbols-outlined") ? element : element.querySelector(".material-symbols-outlined");
    const text = Array.from(element.childNodes, (node) => (node === icon ? "" : node.textContent)).join("").trim();
    if ((text && element !== icon) || !icon) return "";
    return element.title || NAMES[icon.textContent.trim()] || "Open";
  }

  function open(element) {
    const label = name(element);
    if (label && !element.matches("[aria-label], [aria-labelledby], input, select, textarea, label")) element.setAttribute("aria-label", label);
    // What closes a dialogue when one clicks beside it has no part that one could name; Escape does the same.
    if (element.matches(NATIVE) || element.querySelector("input, select, textarea, a[href], button")) return;
    element.setAttribute("role", "button");
    element.tabIndex = 0;
    element.removeAttribute("aria-hidden");
  }

  // Select2 shows a field of its own in place of the one that the label is for.
  function nameSelect(box) {
    const select = box.previousElementSibling;
    const label = select && select.labels && select.labels[0];
    const text = (label ? label.textContent : (select && select.getAttribute("aria-label")) || "Choose").trim().replace(/\s*\*?$/, "");
    for (const part of box.querySelectorAll("[role='combobox'], [role='textbox'], input")) part.setAttribute("aria-label", text);
  }

  // Django's filters of long lists name a picture that is no image to a screen reader.
  function namePicture(part) {
    part.setAttribute("role", "img");
  }

  function look(root) {
    root.querySelectorAll("span[aria-label]:not([role])").forEach(namePicture);
    if (root.matches && root.matches(".select2-container")) nameSelect(root);
    root.querySelectorAll(".select2-container").forEach(nameSelect);
    if (root.matches && root.matches(CLICKABLE)) open(root);
    root.querySelectorAll(CLICKABLE).forEach(open);
  }

  // Unfold hides the page until its script has begun, which is before this one. A browser that draws the page before that gives up
  // the field that asks for the focus.
  function focus() {
    const field = document.querySelector("[autofocus]");
    if (field && (!document.activeElement || document.activeElement === document.body)) field.focus();
  }

  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if ((event.key === "Enter" || event.key === " ") && target.matches(CLICKABLE + "[role='button']")) {
      event.preventDefault();
      target.click();
    }
  });
  look(document.body);
  requestAnimationFrame(() => requestAnimationFrame(focus));
  new MutationObserver((changes) => {
    for (const change of changes)
      for (const node of change.addedNodes) if (node.nodeType === Node.ELEMENT_NODE) look(node);
  }).observe(document.body, { childList: true, subtree: true });
})();
