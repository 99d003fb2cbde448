// Forms of limits: fields that the chosen kind or scope does not have are hidden, and the server says the rule in a sentence.
// Without this script all fields are there, and what a kind does not have is ignored when it is saved.
(() => {
  const FIELDS = ["kind", "counts", "amount", "rate", "window_s", "scope", "model"];
  const SENTENCE = "/admin/billing/limitrule/sentence/";
  const latest = new Map();

  const named = (prefix, name) => document.getElementsByName(prefix + name)[0];
  const line = (field) => field.closest("td") ?? field.closest(".form-row");
  const prefixOf = (field) => field.name.slice(0, field.name.lastIndexOf("-") + 1);

  function show(prefix) {
    for (const chooser of ["kind", "scope"]) {
      const select = named(prefix, chooser);
      if (!select?.dataset.shows) continue;
      const shows = JSON.parse(select.dataset.shows);
      const wanted = shows[select.value];
      for (const name of new Set(Object.values(shows).flat())) {
        const field = named(prefix, name);
        if (field) line(field).classList.toggle("p-not-shown", wanted !== undefined && !wanted.includes(name));
      }
    }
  }

  // On a page of its own the field "In words"; in a table of limits the line above the row, or for a new one a line in it.
  function told(prefix) {
    const id = `${prefix}sentence`;
    const found = document.getElementById(id);
    if (found) return found;
    const cell = line(named(prefix, "name"));
    const saved = cell.closest("tr")?.previousElementSibling?.querySelector("p > span");
    const made = document.createElement("output");
    made.id = id;
    made.className = "p-limit-sentence";
    if (prefix === "") document.querySelector("[data-in-words]").replaceChildren(made);
    else if (saved) saved.replaceChildren(made);
    else cell.append(made);
    return made;
  }

  async function say(prefix) {
    const fields = FIELDS.map((name) => [name, named(prefix, name)?.value ?? ""]);
    const entered = Object.fromEntries(fields);
    if (!entered.kind || !entered.amount) return;
    const turn = (latest.get(prefix) ?? 0) + 1;
    latest.set(prefix, turn);
    const answer = await fetch(`${SENTENCE}?${new URLSearchParams(entered)}`, { headers: { Accept: "application/json" } });
    if (!answer.ok || latest.get(prefix) !== turn) return;
    const { text, good } = await answer.json();
    const output = told(prefix);
    output.textContent = text;
    output.classList.toggle("p-error", !good);
  }

  function entered(event) {
    const field = event.target;
    if (!field.name) return;
    const prefix = prefixOf(field);
    if (!FIELDS.includes(field.name.slice(prefix.length)) || !named(prefix, "kind")?.dataset.shows) return;
    show(prefix);
    say(prefix);
  }

  function showAll() {
    for (const select of document.querySelectorAll("select[data-shows][name$=kind]")) show(prefixOf(select));
  }

  document.addEventListener("input", entered);
  document.addEventListener("change", entered);
  document.addEventListener("formset:added", showAll);
  document.addEventListener("DOMContentLoaded", showAll);
})();
