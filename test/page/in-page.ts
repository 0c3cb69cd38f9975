/** What tests run in the browser. Texts: the types of the browser would count for the whole program. */

/** The lowest contrast of a text with its ground, by WCAG, and that text. */
export const LOWEST_CONTRAST = `(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const groundOf = (element) => {
    const color = getComputedStyle(element).backgroundColor;
    return channels(color)[3] === 0 ? groundOf(element.parentElement) : color;
  };
  const texts = [...document.querySelectorAll('body *')].filter(
    (element) => element.offsetParent && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()),
  );
  const contrasts = texts.map((element) => {
    const [light, dark] = [getComputedStyle(element).color, groundOf(element)].map(luminance).sort((a, b) => b - a);
    return { ratio: (light + 0.05) / (dark + 0.05), text: element.textContent };
  });
  return contrasts.sort((a, b) => a.ratio - b.ratio)[0];
})()`;

export const TOO_WIDE_BY = 'document.documentElement.scrollWidth - window.innerWidth';
export const GROUND = 'getComputedStyle(document.body).backgroundColor';
export const ANIMATIONS = 'document.getAnimations().length';
export const NOTE_HEADLINE = "window.noted = document.querySelector('h1')";
export const IS_NOTED_HEADLINE = "window.noted === document.querySelector('h1')";

/** Puts times on the page and gives what it makes of them; the last one down tells how far it has counted. */
export const timesOf = (values: readonly number[], last: number) => `(async () => {
  const box = document.body.appendChild(document.createElement('div'));
  const add = (name) => (value) => {
    const element = box.appendChild(document.createElement('span'));
    element.dataset[name] = value;
    return element;
  };
  const values = ${JSON.stringify(values)};
  const [up, down, last] = [values.map(add('up')), values.map(add('down')), add('down')(${last})];
  while (last.textContent === '') await new Promise((resolve) => setTimeout(resolve, 20));
  const text = (element) => element.textContent;
  return { up: up.map(text), down: down.map(text), last: text(last) };
})()`;
