/** The style sheet. Every text has a contrast of 4.5 or more on its ground, in both schemes; a test measures it. */
export const STYLE = `
:root{color-scheme:light dark;--ground:#f3f5f8;--card:#fff;--line:#d8dde4;--text:#15191e;--quiet:#535c67;
--ok:#0a6638;--ok-ground:#e0f4e8;--ready:#0b57a4;--ready-ground:#e1eefc;--wait:#764700;--wait-ground:#fcefd2;
--bad:#a01818;--bad-ground:#fde6e3}
@media(prefers-color-scheme:dark){:root{--ground:#0f1216;--card:#181c22;--line:#2c333c;--text:#edf0f4;--quiet:#a5afbb;
--ok:#7edca5;--ok-ground:#10291b;--ready:#90c7ff;--ready-ground:#10253d;--wait:#f3c669;--wait-ground:#2d230a;
--bad:#ffa198;--bad-ground:#371715}}
*{box-sizing:border-box;margin:0}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{background:var(--ground);color:var(--text);font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;
overflow-wrap:anywhere;max-width:64rem;margin:0 auto;padding:1rem max(1rem,env(safe-area-inset-right)) 2rem max(1rem,env(safe-area-inset-left))}
header,footer{display:flex;flex-wrap:wrap;gap:.25rem 1rem;align-items:baseline;justify-content:space-between;padding:0 .25rem}
header{flex-wrap:nowrap;margin-bottom:.75rem}
.name{font-weight:600;display:flex;flex-wrap:wrap;gap:0 .6rem;min-width:0}.model{font-weight:400;color:var(--quiet)}
#live{flex:none;font-size:.875rem;color:var(--ok)}
#live::before{content:"";display:inline-block;width:.55rem;height:.55rem;border-radius:50%;background:currentColor;margin-right:.4rem}
#lost{background:var(--bad-ground);color:var(--bad);border-radius:.75rem;padding:.75rem 1rem;margin-bottom:1rem}
.stale #state,.stale #rest{filter:grayscale(1)}
svg{flex:none;width:1.25rem;height:1.25rem;fill:none;stroke:currentColor;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}
.headline{display:flex;gap:1rem;border-radius:1rem;padding:1.25rem;margin-bottom:1rem}
.headline>svg{width:2.25rem;height:2.25rem}
.headline>div{min-width:0}
h1{font-size:1.5rem;line-height:1.25;font-weight:650;text-wrap:balance}
.headline p{color:var(--text);margin-top:.4rem}
.remedy{margin-top:.4rem}
.ok{color:var(--ok)}.ready{color:var(--ready)}.wait{color:var(--wait)}.bad{color:var(--bad)}.plain{color:var(--quiet)}
.headline.ok{background:var(--ok-ground)}.headline.ready{background:var(--ready-ground)}
.headline.wait{background:var(--wait-ground)}.headline.bad{background:var(--bad-ground)}
.cards{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}
.card{background:var(--card);border:1px solid var(--line);border-radius:1rem;padding:1rem 1.25rem;min-width:0}
.card.list{margin-bottom:1rem}.cards+.card.list{margin:1rem 0 0}
h2{font-size:.875rem;font-weight:600;color:var(--quiet);margin-bottom:.35rem}
.mark{display:flex;gap:.6rem;align-items:flex-start;font-weight:600}
.mark svg{margin-top:.125rem}
.mark>*{min-width:0}
.mark .trouble{font-weight:400;color:var(--text);border:0;padding:0;margin:0}
p.mark.plain span{color:var(--text)}
ul{list-style:none;padding:0}
li+li{margin-top:.75rem}
dl{margin-top:.6rem}h2+dl{margin-top:0}
dl>div{display:flex;flex-wrap:wrap;gap:0 1rem;padding:.35rem 0;border-top:1px solid var(--line)}
h2+dl>div:first-child{border:0}
dt{color:var(--quiet);flex:0 0 8.25rem}
dd{flex:1 1 auto;min-width:min(100%,9rem);max-width:100%}
.exact{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.875rem;line-height:1.7}
.trouble{border-top:1px solid var(--line);padding-top:.6rem;margin-top:.35rem}
.when{color:var(--quiet);font-size:.875rem}
[role=timer]{font-variant-numeric:tabular-nums;white-space:nowrap}
footer{margin-top:1.5rem;color:var(--quiet);font-size:.875rem}
noscript{display:flow-root}
a{color:var(--ready);display:inline-block;padding:.75rem .25rem;min-height:2.75rem}
a:focus-visible{outline:3px solid currentColor;outline-offset:2px;border-radius:.25rem}
@media(prefers-reduced-motion:no-preference){#live::before{animation:live 2.4s ease-in-out infinite}
@keyframes live{50%{opacity:.35}}}
[hidden]{display:none!important}
`;
