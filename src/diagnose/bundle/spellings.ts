/** What is shorter would be found in ordinary words. */
const MIN_ENCODED_CHARACTERS = 5;

/**
 * The ways in which a secret may be written: as it is, for a URL, a form, JSON, HTML or a shell, in hex, and in base64
 * as a part of something longer. Compared without case, so none of them stands here twice.
 */
export function spellingsOf(secret: string): string[] {
  const bytes = Buffer.from(secret, 'utf8');
  const inJson = JSON.stringify(secret).slice(1, -1);
  const plain = [
    secret,
    ...inUrls(secret),
    inJson,
    inJson.replaceAll('/', '\\/'),
    inJson.replace(/[^\x20-\x7e]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`),
    secret.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;'),
    secret.replaceAll("'", `'\\''`),
  ];
  const pairs = bytes.toString('hex').match(/../g) ?? [];
  const encoded = [
    pairs.join(''),
    pairs.join(':'),
    pairs.join(' '),
    pairs.map((pair) => `%${pair}`).join(''),
    pairs.map((pair) => `\\x${pair}`).join(''),
    ...inBase64(bytes),
  ].filter(({ length }) => length >= MIN_ENCODED_CHARACTERS);
  return [...new Set([...plain, ...encoded].map(lowerCase))].filter((spelling) => spelling !== '');
}

/** Only of A to Z, so that the length stays the same. */
export function lowerCase(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** Whoever writes addresses agrees on what must be escaped, and not on what may be. */
function inUrls(secret: string): string[] {
  if (/[\ud800-\udfff]/u.test(secret)) return []; // half of a character cannot be escaped
  const component = encodeURIComponent(secret);
  const strict = component.replace(/[!'()*~]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`);
  return [encodeURI(secret), component, strict, component.replaceAll('%20', '+'), strict.replaceAll('%20', '+')];
}

/** The characters that stand for these bytes alone, wherever in a longer text they begin. */
function inBase64(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((before) => {
    const bits = (before + bytes.length) * 8;
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64');
    const own = text.slice(Math.ceil((before * 8) / 6), Math.floor(bits / 6));
    return [own, own.replaceAll('+', '-').replaceAll('/', '_')];
  });
}
