// Moderation by keyboard: j and k go from one mention to the next, a, d and b decide about it.
// Without this everything still works: every decision is a form, every form has a button.

const cards = [...document.querySelectorAll("[data-mention]")];
let at = -1;

function select(index) {
  if (index < 0 || index >= cards.length) return;
  at = index;
  cards[at].focus({ preventScroll: true });
  cards[at].scrollIntoView({ block: "nearest" });
}

function act(key) {
  const card = cards[at] ?? (cards.length === 1 ? cards[0] : undefined);
  card?.querySelector(`[data-key="${key}"]`)?.click();
}

for (const [index, card] of cards.entries()) {
  card.addEventListener("focusin", () => { at = index; }); // tabbed or clicked into
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest("input, textarea, select")) return;
  if (event.key === "j") select(at + 1);
  else if (event.key === "k") select(at < 0 ? cards.length - 1 : at - 1);
  else if (["a", "d", "b"].includes(event.key)) act(event.key);
  else return;
  event.preventDefault();
});

// After a decision the page comes again, and goes on with the mention that was next.
const next = cards.findIndex((card) => `#${card.id}` === location.hash);
if (next >= 0) select(next);
