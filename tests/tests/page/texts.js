(() => {
  document.querySelectorAll('details').forEach(e => { e.open = true; });
  const channels = colour => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  // WCAG 2.2, relative luminance.
  const luminance = rgb => {
    const [r, g, b] = rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const { rgb, a } = channels(getComputedStyle(e).backgroundColor);
      if (a > 0) return rgb;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest('title, desc, style, defs')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (box.width === 0) continue;
    const style = getComputedStyle(element);
    const ink = channels(element.closest('svg') ? style.fill : style.color).rgb;
    const [low, high] = [luminance(ink), luminance(behind(element))].sort((a, b) => a - b);
    const scrolls = element.closest('.scroll');
    const limit = scrolls ? Infinity : (element.closest('.tile, section, main') ?? document.body).getBoundingClientRect().right;
    found.push({
      text: node.data.trim().slice(0, 60),
      class: element.getAttribute('class') ?? element.tagName,
      contrast: Math.round((high + 0.05) / (low + 0.05) * 100) / 100,
      overflows: box.right > limit + 0.5,
    });
  }
  return found;
})()
