/**
 * What runs in the browser: shows what `/events` sends, and counts times on by itself, so that the device sends nothing
 * while nothing changes. A text, because the service is one bundled file. Its `upText` and `downText` are `duration`
 * and `countdown` of the server again; a test compares them.
 */
export const SCRIPT = `'use strict';
(() => {
  const SILENT_MS = 45000, RETRY_MS = 5000;
  const byId = (id) => document.getElementById(id);
  const timers = (root) => [...root.querySelectorAll('[data-up],[data-down]')];
  const pad = (n) => String(n).padStart(2, '0');
  const downText = (s) => {
    const m = Math.floor(s / 60), h = Math.floor(m / 60);
    return (h > 0 ? h + ':' + pad(m % 60) : m) + ':' + pad(s % 60);
  };
  const upText = (s) => {
    const parts = [];
    for (const [size, name] of [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']]) {
      if (s >= size) parts.push(Math.floor(s / size) + ' ' + name);
      s %= size;
    }
    return parts.slice(0, 2).join(' ') || '0 s';
  };

  let setAt = Date.now(), heardAt = setAt, triedAt = setAt, source = null;

  const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const count = () => {
    const passed = Math.max(0, Math.floor((Date.now() - setAt) / 1000));
    for (const timer of timers(document)) {
      const { up, down } = timer.dataset;
      write(timer, up === undefined ? downText(Math.max(0, down - passed)) : upText(Number(up) + passed));
    }
  };

  // Only what changed is replaced: a screen reader would read out the same sentence again.
  const shape = (element) => element.innerHTML.replace(/(data-(?:up|down)=")[^<]*/g, '$1');
  const show = ({ title, state, rest }) => {
    setAt = Date.now();
    write(document.querySelector('title'), title);
    for (const [id, html] of Object.entries({ state, rest })) {
      const place = byId(id), fresh = document.createElement('template');
      fresh.innerHTML = html;
      const times = timers(fresh.content);
      if (shape(place) !== shape(fresh)) place.replaceChildren(fresh.content);
      else timers(place).forEach((timer, i) => Object.assign(timer.dataset, times[i].dataset));
    }
    count();
  };

  const heard = () => { heardAt = Date.now(); look(); };
  const connect = () => {
    if (source) source.close();
    triedAt = Date.now();
    source = new EventSource('/events');
    source.onmessage = ({ data }) => { show(JSON.parse(data)); heard(); };
    source.addEventListener('beat', heard);
  };
  const look = () => {
    const now = Date.now();
    const live = source.readyState === EventSource.OPEN && now - heardAt < SILENT_MS;
    const lost = !live && now - heardAt > RETRY_MS;
    byId('live').hidden = !live;
    byId('lost').hidden = !lost;
    document.body.classList.toggle('stale', lost);
    if (lost) write(byId('age'), upText(Math.floor((now - heardAt) / 1000)));
    if (lost && now - triedAt > RETRY_MS) connect();
  };

  connect();
  setInterval(() => { count(); look(); }, 1000);
})();
`;
