import type { EffectiveConfig } from './effective.ts';
import { addressInList } from './patterns.ts';

/** The first OpenSSH that shuts sources out by default. */
const SINCE = { major: 9, minor: 8 };

export type Penalties =
  | { readonly kind: 'none'; readonly because: string }
  | { readonly kind: 'exempt'; readonly because: string }
  | { readonly kind: 'threatened'; readonly because: string };

/**
 * Whether sshd may shut out all that comes through the tunnel, which is one source for it. Pure.
 * @param address where the tunnel's connections come from
 */
export function judgePenalties(
  version: { readonly major: number; readonly minor: number } | null,
  config: EffectiveConfig,
  address: string,
): Penalties {
  const setting = config.get('persourcepenalties');
  if (setting === '') {
    const old =
      version === null || version.major < SINCE.major || (version.major === SINCE.major && version.minor < SINCE.minor);
    const because = old ? 'this sshd has no PerSourcePenalties' : 'sshd -T says nothing of PerSourcePenalties';
    return { kind: 'none', because };
  }
  if (setting === 'no') return { kind: 'none', because: config.lines('persourcepenalties') };
  const list = config.text('persourcepenaltyexemptlist');
  const because = config.lines('persourcepenalties', 'persourcepenaltyexemptlist');
  const exempt = list !== null && addressInList(address, list) === 'yes';
  return { kind: exempt ? 'exempt' : 'threatened', because };
}
