/** The effective configuration of an sshd, as `sshd -T` prints it: a keyword in lower case, and its value. */
export class EffectiveConfig {
  readonly #values = new Map<string, string[]>();

  /** @param text what `sshd -T` printed */
  constructor(text: string) {
    for (const line of text.split('\n')) {
      const [, keyword, value = ''] = /^([A-Za-z0-9]+)(?: (.*))?$/.exec(line.trimEnd()) ?? [];
      if (keyword === undefined) continue;
      const name = keyword.toLowerCase();
      this.#values.set(name, [...(this.#values.get(name) ?? []), value]);
    }
  }

  /** The value, in lower case; empty for what this sshd does not know. */
  get(keyword: string): string {
    return (this.#values.get(keyword)?.[0] ?? '').toLowerCase();
  }

  /** The value as it is written; null for what this sshd does not know, and for `none`. */
  text(keyword: string): string | null {
    const value = this.#values.get(keyword)?.[0] ?? 'none';
    return value === 'none' ? null : value;
  }

  /** Its words, of all lines with this keyword. */
  words(keyword: string): string[] {
    return (this.#values.get(keyword) ?? []).flatMap((value) => value.split(/\s+/).filter((word) => word !== ''));
  }

  isYes(keyword: string): boolean {
    return this.get(keyword) === 'yes';
  }

  /** The lines with these keywords, as an evidence: `allowusers root`. */
  lines(...keywords: string[]): string {
    const lines = keywords.map((keyword) => {
      const words = this.words(keyword);
      return words.length === 0 ? null : `${keyword} ${words.join(' ')}`;
    });
    return lines.filter((line) => line !== null).join('; ');
  }
}
