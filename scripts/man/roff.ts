/** The few words of man(7) that our pages are made of. */

const SPECIAL: Readonly<Record<string, string>> = { '…': '...', '–': '\\(en', '→': '\\(->', '‘': "'", '’': "'" };

/** Plain text as roff shows it: every hyphen can be copied into a shell, and no line is taken for a request. */
export function plain(text: string): string {
  const escaped = text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(/[^\n -~]/g, (sign) => {
      const known = SPECIAL[sign];
      if (known === undefined) throw new Error(`no roff for ${JSON.stringify(sign)} in: ${text}`);
      return known;
    });
  return escaped.replaceAll(/^(?=[.'])/gm, '\\&');
}

export const bold = (text: string) => `\\fB${plain(text)}\\fR`;
export const italic = (text: string) => `\\fI${plain(text)}\\fR`;

/** An argument of a request, in the quotes of roff. Takes escaped text. */
export const quoted = (text: string) => `"${text.replaceAll('"', '\\(dq')}"`;

export const section = (title: string, ...body: string[]) => [`.SH ${quoted(plain(title))}`, ...body];
export const subsection = (title: string, ...body: string[]) => [`.SS ${quoted(title)}`, ...body];
export const paragraph = (...sentences: string[]) => ['.PP', ...sentences];
/** A term and what it means. Both are escaped already. */
export const item = (term: string, ...about: string[]) => ['.TP', term, ...about];
/** Lines as they are, in the type of a terminal. */
export const verbatim = (lines: readonly string[]) => ['.PP', '.EX', ...lines.map(plain), '.EE'];
