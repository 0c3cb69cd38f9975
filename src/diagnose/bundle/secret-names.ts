// What a secret is called: in configuration files, environments, headers and log lines.

const WORDS = [
  'token(?:[_-]?code)?',
  'passw(?:or)?d',
  'passphrase',
  'passcode',
  'secret',
  'psk',
  '(?:private|preshared|api|access)[_-]?key',
  'credentials?',
  'verifier',
  'salt',
  '(?<![a-z])pin',
].join('|');

/** The value in the way that it may stand behind its name: inside of text in JSON, in quotes of either kind, bare. */
const VALUE = String.raw`\\+"[^"\\\n]*\\+"|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s"'&,;<>{}()[\]]+`;

const NAME = new RegExp(`(?:${WORDS})$`, 'i');
const NAMED = new RegExp(String.raw`((?:${WORDS})\\*["']?[ \t]*[:=][ \t]*)(${VALUE})`, 'gi');
/** `--token VALUE`, which has neither. */
const GIVEN = /(--?(?:[a-z0-9]{1,30}-){0,6}(?:token|password|passwd|passphrase|secret|psk)[ =]+)([^\s-]\S*)/gi;
/** What stands there instead of a secret. */
const NOTHING = /^(?:|true|false|yes|no|none|null|undefined|\[secret\])$/i;

/** A PIN has 6 to 16 digits; what is longer is the public pin of a certificate. */
const MAX_PIN_CHARACTERS = 16;

/**
 * Whether a setting, a variable or a key of JSON with this name holds a secret; the path of a file does not, nor does a
 * switch, whatever its name.
 */
export function isSecret(name: string, value: string): boolean {
  return NAME.test(name) && canBeSecret(name, value);
}

function canBeSecret(name: string, value: string): boolean {
  return !NOTHING.test(value.trim()) && (value.length <= MAX_PIN_CHARACTERS || !/pin\W*$/i.test(name));
}

/** Puts `mask` in the place of every value with such a name. */
export function maskNamed(text: string, mask: string): string {
  const replace = (whole: string, name: string, value: string) => {
    const [, open = '', inner = '', close = ''] = /^(\\*["']?)([\s\S]*?)(\\*["']?)$/.exec(value) ?? [];
    return canBeSecret(name, inner) ? `${name}${open}${mask}${close}` : whole;
  };
  return text.replace(NAMED, replace).replace(GIVEN, replace);
}

/** Every value with such a name in a text of any format: JSON that is broken, `NAME=VALUE`, a unit of systemd. */
export function namedSecrets(text: string): string[] {
  return [...text.matchAll(NAMED), ...text.matchAll(GIVEN)]
    .map(([, name = '', value = '']) => ({ name, value: value.replace(/^\\*["']|\\*["']$/g, '') }))
    .filter(({ name, value }) => canBeSecret(name, value))
    .map(({ value }) => value);
}

/** Every value with such a name in parsed JSON. */
export function secretsInJson(value: unknown, name = ''): string[] {
  if (typeof value === 'object' && value !== null) {
    return Object.entries(value).flatMap(([key, each]) => secretsInJson(each, Array.isArray(value) ? name : key));
  }
  const isText = typeof value === 'string' || typeof value === 'number';
  return isText && isSecret(name, String(value)) ? [String(value)] : [];
}

/** Every path that is named as the file of a token or a password: `tokenFile`, `MEETING_TOKEN_FILE`. */
export function secretFilesNamed(text: string): string[] {
  const named = /(?:token|pin|password|secret)_?file\\*["']?[ \t]*[:=][ \t]*\\*["']?(\/[^\s"'\\]+)/gi;
  return [...text.matchAll(named)].map(([, path = '']) => path);
}
