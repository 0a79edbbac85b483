/**
 * What a person could not read on this page: words that are faint, cut off, broken in two although they are short, or
 * turned around on a page from right to left; and what a person with a keyboard or a screen reader would not reach.
 */
() => {
  const WANTED = 4.5; // WCAG 2.2, 1.4.3 for small text
  const LONG = 14; // letters: a longer word may break
  const found = new Set();
  const numbers = (color) => {
    const [red, green, blue, alpha = 1] = color.match(/[\d.]+/g).map(Number);
    return [red, green, blue, alpha];
  };
  const linear = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const blend = (top, under) => [0, 1, 2].map((at) => top[at] * top[3] + under[at] * (1 - top[3]));
  const backgroundOf = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const color = numbers(getComputedStyle(at).backgroundColor);
      if (color[3] > 0) layers.unshift(color);
      if (color[3] === 1) break;
    }
    return layers.reduce((under, top) => blend(top, under), [255, 255, 255]);
  };
  const isHidden = (element) => element.closest("thead, .sm-unseen") && getComputedStyle(element.closest("thead, .sm-unseen")).clipPath !== "none";

  const brokenIn = (node) => {
    const range = document.createRange();
    return [...node.data.matchAll(/\S+/gu)].filter((word) => {
      if (word[0].length > LONG) return false;
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1;
    });
  };

  // The ends of a text without a letter from right to left: its first one is the left one.
  const isTurned = (node) => {
    const marks = [...node.data.matchAll(/[a-z0-9]/giu)];
    if (marks.length < 2 || /[\u0590-\u08ff]/u.test(node.data)) return false;
    const [first, last] = [marks[0], marks.at(-1)].map((mark) => {
      const range = document.createRange();
      range.setStart(node, mark.index);
      range.setEnd(node, mark.index + 1);
      return range.getBoundingClientRect();
    });
    return Math.abs(first.top - last.top) < 2 && first.left > last.left;
  };
  const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";
  for (const box of document.querySelectorAll("#content *")) {
    const { overflowX, overflowY } = getComputedStyle(box);
    const scrolls = [overflowX, overflowY].some((overflow) => ["auto", "scroll"].includes(overflow));
    const isLarger = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
    if (scrolls && isLarger && !box.matches(FOCUSABLE) && !box.querySelector(FOCUSABLE)) found.add(`no key scrolls: ${box.className}`);
  }
  for (const field of document.querySelectorAll("#content :is(input:not([type=hidden], [type=submit]), select, textarea)")) {
    const label = field.getAttribute("aria-label") ?? field.title;
    if (!label && ![...field.labels].some((one) => one.textContent.trim() || one.querySelector("img[alt]"))) found.add(`no label: ${field.name}`);
  }
  for (const head of document.querySelectorAll("#content .sm-page th:not([scope])")) found.add(`a heading of neither a column nor a row: ${head.textContent}`);
  for (const link of document.querySelectorAll("#content .sm-page :is(a, button)[aria-label]")) {
    if (!link.ariaLabel.toLowerCase().includes(link.textContent.trim().toLowerCase())) found.add(`named otherwise than shown: ${link.ariaLabel}`);
  }
  if (document.querySelectorAll("h1").length !== 1 + document.querySelectorAll("#site-name:is(h1), #header h1").length) found.add("not one first heading");

  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) found.add("the page is wider than the screen");
  const words = document.createTreeWalker(document.querySelector("#content"), NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const text = words.currentNode.data.trim();
    const element = words.currentNode.parentElement;
    if (!text || !element.checkVisibility() || isHidden(element)) continue;
    const background = backgroundOf(element);
    const [light, dark] = [luminance(blend(numbers(getComputedStyle(element).color), background)), luminance(background)].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < WANTED) found.add(`contrast ${contrast.toFixed(2)}: ${element.className} ${text.slice(0, 40)}`);
    // The count below a list is Django's own.
    if (!element.closest(".paginator") && isTurned(words.currentNode)) found.add(`turned around: ${text.slice(0, 40)}`);
    const range = document.createRange();
    range.selectNodeContents(words.currentNode);
    const right = Math.max(...[...range.getClientRects()].map((box) => box.right));
    for (const word of brokenIn(words.currentNode)) found.add(`broken: ${word[0]} in ${text.slice(0, 40)}`);
    for (let at = element; at !== document.body; at = at.parentElement) {
      if (getComputedStyle(at).overflowX === "visible") continue;
      if (right > at.getBoundingClientRect().right + 1) found.add(`cut off: ${text.slice(0, 40)}`);
      break;
    }
  }
  return [...found];
}
