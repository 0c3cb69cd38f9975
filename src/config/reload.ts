import { isDeepStrictEqual } from 'node:util';
import { type Applies, OPTION_KEYS, type OptionKey, optionOf, type Values } from './options.ts';
import { conflictsOf, toConfig } from './resolve.ts';
import type { Config } from './types.ts';

/** What a running service makes of a new configuration. */
export interface ReloadPlan {
  /** What runs from now on. */
  readonly config: Config;
  readonly values: Values;
  /** Options whose new value runs from now on. */
  readonly applied: readonly OptionKey[];
  /** Options whose old value still runs, because streams are open; a reload without streams, or a restart, applies them. */
  readonly whenIdle: readonly OptionKey[];
  /** Options whose old value runs until a restart. */
  readonly atRestart: readonly OptionKey[];
}

/**
 * Takes from `next` what can be applied now. Pure. Where the mixture of old and new would be a fault (the port of the
 * pairing routes moves to one that the old session still forwards), nothing is applied before the rest can be.
 *
 * @param idle whether no stream is open, so that the session may be ended
 */
export function planReload(running: Values, next: Values, idle: boolean): ReloadPlan {
  const changed = OPTION_KEYS.filter((key) => !isDeepStrictEqual(orderOf(running[key]), orderOf(next[key])));
  const of = (...applies: Applies[]) => changed.filter((key) => applies.includes(optionOf(key).applies));
  const applied = idle ? of('at once', 'when idle') : of('at once');
  const values = mix(running, next, applied);
  const fits = conflictsOf(values).length === 0;
  return {
    config: toConfig(fits ? values : running),
    values: fits ? values : running,
    applied: fits ? applied : [],
    whenIdle: idle ? [] : fits ? of('when idle') : of('at once', 'when idle'),
    atRestart: idle && !fits ? changed : of('at restart'),
  };
}

/** The order of services is the order in which they are asked for. */
function orderOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null ? Object.entries(value) : value;
}

function mix(running: Values, next: Values, keys: readonly OptionKey[]): Values {
  return { ...running, ...Object.fromEntries(keys.map((key) => [key, next[key]])) };
}
