import { duration } from '../support/duration.ts';
import { replaceUnsafe } from '../support/text.ts';
import { SCRIPT } from './script.ts';
import { STYLE } from './style.ts';
import type { Card, PageView, Row, Trouble } from './view.ts';
import { countdown, type Span, type Tone, type Words } from './words.ts';

/** The places of the page that change, by their id, and the title. */
export interface PageParts {
  title: string;
  state: string;
  rest: string;
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Any text, so that it shows as itself in an element or in a quoted attribute, and turns nothing beside it around. */
export function escapeHtml(text: string): string {
  return replaceUnsafe(text, '\ufffd').replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}

export function partsOf(view: PageView): PageParts {
  const { headline, faults, cards, notices } = view;
  return {
    title: `${headline.words[0]} · ${view.hostname}`,
    state: stateHtml(view),
    rest: [
      list('Needs attention', 'bad', faults),
      `<div class="cards">${cards.map(cardHtml).join('')}</div>`,
      list('Notes', 'plain', notices),
    ].join(''),
  };
}

/** The whole document. It carries its style and script, so that one answer is the page. */
export function documentOf(view: PageView): string {
  const { title, state, rest } = partsOf(view);
  const model = view.model === null ? '' : `<span class="model">${escapeHtml(view.model)}</span>`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${escapeHtml(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32' rx='8' fill='%230b57a4'/%3E%3Cpath d='M9 10h14L9 22h14' fill='none' stroke='%23fff' stroke-width='3.5' stroke-linejoin='round' stroke-linecap='round'/%3E%3C/svg%3E">
<style>${STYLE}</style>
</head>
<body>
<header>
<p class="name"><bdi>${escapeHtml(view.hostname)}</bdi>${model}</p>
<p id="live" hidden>Live</p>
</header>
<main>
<p id="lost" role="status" hidden>No answer from the device. It is asked again; what stands here is <span id="age" role="timer"></span> old.</p>
<section id="state" aria-live="polite">${state}</section>
<div id="rest">${rest}</div>
</main>
<footer>
<p>This page shows, it changes nothing.</p>
<noscript><p>Without JavaScript it does not follow what happens.</p><a href="/">Load it again</a></noscript>
</footer>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

function stateHtml({ headline: { tone, words, lead, remedy, besides } }: PageView): string {
  return `<div class="headline ${tone}">${icon(tone)}<div><h1>${html(words)}</h1>${paragraph(lead)}${remedyHtml(remedy)}${paragraph(besides)}</div></div>`;
}

function cardHtml({ title, tone, state, rows, trouble }: Card): string {
  const mark = state === null ? '' : `<p class="mark ${tone}">${icon(tone)}<span>${html(state)}</span></p>`;
  const facts = rows.length === 0 ? '' : `<dl>${rows.map(rowHtml).join('')}</dl>`;
  const failure = trouble === null ? '' : troubleHtml(trouble);
  return `<section class="card"><h2>${escapeHtml(title)}</h2>${mark}${facts}${failure}</section>`;
}

function rowHtml({ name, words, exact }: Row): string {
  return `<div><dt>${escapeHtml(name)}</dt><dd${exact ? ' class="exact"' : ''}>${html(words)}</dd></div>`;
}

function list(title: string, tone: Tone, troubles: readonly Trouble[]): string {
  if (troubles.length === 0) return '';
  return `<section class="card list"><h2>${title}</h2><ul>${troubles
    .map((trouble) => `<li class="mark ${tone}">${icon(tone)}${troubleHtml(trouble)}</li>`)
    .join('')}</ul></section>`;
}

function troubleHtml({ when, sentence, remedy }: Trouble): string {
  const heading = when.length === 0 ? '' : `<p class="when">${html(when)}</p>`;
  return `<div class="trouble">${heading}<p>${escapeHtml(sentence)}</p>${remedyHtml(remedy)}</div>`;
}

function remedyHtml(remedy: string | null): string {
  return remedy === null ? '' : `<p class="remedy"><b>What to do:</b> ${escapeHtml(remedy)}</p>`;
}

const paragraph = (words: Words) => (words.length === 0 ? '' : `<p>${html(words)}</p>`);
const html = (words: Words) =>
  words.map((word) => (typeof word === 'string' ? escapeHtml(word) : spanHtml(word))).join('');

/** A timer is not read out each second, also within a live region. The script counts on from the attribute. */
function spanHtml(span: Span): string {
  return `<span role="timer" data-${span.count}="${span.seconds}">${timeOf(span)}</span>`;
}

function timeOf({ count, seconds }: Span): string {
  return count === 'up' ? duration(seconds) : countdown(seconds);
}

const SHAPES: Record<Tone, string> = {
  ok: '<path d="m7.5 12.5 3 3 6-7"/>',
  ready: '<path d="M8.5 12h7M12 8.5v7"/>',
  wait: '<path d="M12 7v5.5l3.5 2"/>',
  bad: '<path d="M12 7v6.5M12 17v.01"/>',
  plain: '<path d="M8.5 12h7"/>',
};

function icon(tone: Tone): string {
  return `<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="10"/>${SHAPES[tone]}</svg>`;
}
