"use strict";
// GraphiQL with the two ways in which this address answers: with a key as a program, without one as the signed-in person.
(function () {
  const place = document.getElementById("graphiql");
  const address = place.dataset.address;

  function named(headers, name) {
    return Object.keys(headers).some((key) => key.toLowerCase() === name && String(headers[key]).trim() !== "");
  }

  function filled(headers) {
    return Object.fromEntries(Object.entries(headers).filter(([, value]) => String(value).trim() !== ""));
  }

  async function fetcher(params, options) {
    const own = (options && options.headers) || {};
    const hasKey = named(own, "authorization") || named(own, "x-api-key");
    const headers = { "Content-Type": "application/json", Accept: "application/graphql-response+json, application/json" };
    if (!hasKey) headers["X-CSRFToken"] = place.dataset.csrf;
    const answer = await fetch(address, {
      method: "POST",
      headers: Object.assign(headers, filled(own)),
      credentials: hasKey ? "omit" : "same-origin",
      body: JSON.stringify(params),
    });
    const type = answer.headers.get("Content-Type") || "";
    if (type.includes("json")) return answer.json();
    return { errors: [{ message: "HTTP " + answer.status + ". Reload the page; you may have to sign in again." }] };
  }

  // The history keeps the headers of each query; a key must not stay in the browser.
  function withoutHeaders(name, value) {
    if (name === "headers") return undefined;
    return value;
  }

  const storage = {
    getItem: (name) => localStorage.getItem(name),
    removeItem: (name) => localStorage.removeItem(name),
    clear: () => localStorage.clear(),
    get length() {
      return localStorage.length;
    },
    setItem: function (name, value) {
      if (name.endsWith(":headers")) return;
      let kept = value;
      try {
        kept = JSON.stringify(JSON.parse(value, withoutHeaders));
      } catch (_) {
        // A query's text is no JSON, and holds no headers.
      }
      localStorage.setItem(name, kept);
    },
  };

  const welcome = [
    "# Your API key goes under Headers:",
    "# \"Authorization\": \"Bearer mlp_…\".",
    "# The book shows the whole schema.",
    "{",
    "  me { keyName scopes }",
    "}",
    "",
  ].join("\n");

  // CodeMirror's fields have no names of their own.
  const NAMES = { "graphiql-query-editor": "Query", "result-window": "Answer" };

  function nameFields() {
    for (const field of place.querySelectorAll(".CodeMirror textarea:not([aria-label])")) {
      const known = Object.keys(NAMES).find((part) => field.closest("." + part));
      const tool = field.closest("section[aria-label]");
      const scrolled = field.closest(".CodeMirror").querySelector(".CodeMirror-scroll");
      if (scrolled) scrolled.tabIndex = 0;
      field.setAttribute("aria-label", known ? NAMES[known] : (tool && tool.getAttribute("aria-label")) || "Editor");
    }
  }
  new MutationObserver(nameFields).observe(place, { childList: true, subtree: true });

  ReactDOM.createRoot(place).render(
    React.createElement(GraphiQL, {
      fetcher: fetcher,
      storage: storage,
      defaultQuery: welcome,
      defaultHeaders: '{\n  "Authorization": ""\n}\n',
      defaultEditorToolsVisibility: "headers",
      // A key must not stay in the browser.
      shouldPersistHeaders: false,
      showPersistHeadersSettings: false,
      isHeadersEditorEnabled: true,
    })
  );
})();
