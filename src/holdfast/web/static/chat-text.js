// What somebody wrote, as nodes: links that lead somewhere, `code`, and ``` fences. Everything else is text, and
// nothing is ever parsed as HTML.

// The line ends around a fenced block are the fence's own.
const PARTS = /\n?```(?:[\w+#.-]*\n)?([\s\S]*?)\n?```\n?|(?<!`)`([^`\n]+)`(?!`)|(https?:\/\/[^\s<>"`]+)/g;

/** A fragment of text, code and links. */
export function formatted(text) {
  const fragment = document.createDocumentFragment();
  let end = 0;
  for (const found of text.matchAll(PARTS)) {
    const [whole, block, inline, address] = found;
    const node = address ? link(address) : code(block ?? inline, block !== undefined);
    if (!node) continue;
    fragment.append(text.slice(end, found.index), node);
    end = found.index + (address ? node.textContent.length : whole.length);
  }
  fragment.append(text.slice(end));
  return fragment;
}

function code(text, block) {
  const inner = document.createElement("code");
  inner.textContent = text;
  if (!block) return inner;
  const outer = document.createElement("pre");
  outer.tabIndex = 0; // wide code scrolls, also by keyboard
  outer.append(inner);
  return outer;
}

/** The address without what belongs to the sentence around it; null: it is none, or hides where it leads. */
function link(address) {
  let shown = address;
  for (let most = 8; most && (/[.,:;!?'*_~]$/.test(shown) || isClosing(shown)); most -= 1) shown = shown.slice(0, -1);
  const url = URL.canParse(shown) ? new URL(shown) : null;
  if (!url || url.username || url.password || !url.hostname) return null;
  const anchor = document.createElement("a");
  anchor.href = url.href;
  anchor.rel = "noopener noreferrer nofollow ugc";
  anchor.target = "_blank";
  anchor.textContent = shown;
  return anchor;
}

/** Whether it ends in a bracket that was not opened in it: addresses may hold pairs of them. */
function isClosing(text) {
  const open = { ")": "(", "]": "[", "}": "{" }[text.at(-1)];
  return open !== undefined && text.split(open).length < text.split(text.at(-1)).length;
}
