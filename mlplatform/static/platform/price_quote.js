// Beside the form of a price: what the entered units change, asked of the server after each change. Nothing is saved by that.
document.addEventListener("DOMContentLoaded", () => {
  const shown = document.getElementById("price-effect");
  const form = document.getElementById("price_form");
  if (!shown || !form) return;
  const FIELDS = ["operation", "model", "per_call", "per_input", "cached_per_input"];
  let turn = 0;

  async function ask() {
    const mine = ++turn;
    const entered = new URLSearchParams({ price: shown.dataset.price });
    for (const name of FIELDS) entered.set(name, form.elements[name]?.value ?? "");
    const answer = await fetch(`${shown.dataset.address}?${entered}`);
    if (!answer.ok) return;
    const part = await answer.text();
    if (mine === turn) shown.innerHTML = part;
  }

  let waiting;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(ask, 150);
  });
});
