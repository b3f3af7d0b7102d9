"""The frame of the report's page: its colours for light and dark, and the filter of its matrix."""

STYLE = """
:root { color-scheme: light dark; --ground: #fbfbfa; --panel: #fff; --ink: #1d2329; --soft: #66707a; --line: #e3e5e8;
  --ok: #1a7f4b; --ok-ground: #def3e6; --bad: #b3261e; --bad-ground: #fbdedb; --left: #6b7280; --left-ground: #eceef1;
  --relaxed: #96690a; --relaxed-ground: #fbeecb; --some: #2f6f8f; --some-ground: #dceef6; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --panel: #1b1f24; --ink: #e6e9ec; --soft: #98a2ad;
  --line: #2b3138; --ok: #5fd08f; --ok-ground: #173626; --bad: #ff8a80; --bad-ground: #45201d; --left: #a0a8b3;
  --left-ground: #272c33; --relaxed: #f0c35a; --relaxed-ground: #3b3017; --some: #7cc4e6; --some-ground: #17323f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 80px; }
h1 { font-size: 26px; margin: 0 0 18px; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 12px; }
small, h2 small { color: var(--soft); font-weight: 400; font-size: 13px; }
section { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin: 18px 0; }
code { font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; }
.tile { flex: 1 1 130px; background: var(--panel); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 14px; }
.tile b { display: block; font-size: 22px; line-height: 1.2; } .tile span { color: var(--soft); font-size: 13px; }
.tile.ok b { color: var(--ok); } .tile.bad b { color: var(--bad); } .tile.left b { color: var(--left); }
.tile.relaxed b { color: var(--relaxed); }
.bar { display: flex; height: 8px; border-radius: 4px; overflow: hidden; margin: 14px 0 6px; gap: 2px; }
.bar .ok { background: var(--ok); } .bar .bad { background: var(--bad); }
.bar .left { background: var(--left); opacity: .45; }
.bar .relaxed { background: var(--relaxed); }
.why { color: var(--soft); margin: 4px 0 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
.matrix { font-size: 13px; }
.matrix th { text-align: left; font-weight: 500; padding: 2px 10px 2px 0; white-space: nowrap; }
.matrix thead th { padding: 0 6px 6px; text-align: center; color: var(--soft); }
.matrix td { min-width: 74px; text-align: center; padding: 3px 6px; border: 2px solid var(--panel);
  border-radius: 6px;
  font-variant-numeric: tabular-nums; }
.matrix sub { color: var(--soft); margin-left: 3px; }
td.ok, .tag.ok { background: var(--ok-ground); color: var(--ok); }
td.bad, .tag.bad { background: var(--bad-ground); color: var(--bad); }
td.left, .tag.left { background: var(--left-ground); color: var(--left); }
td.some { background: var(--some-ground); color: var(--some); }
td.relaxed, .tag.relaxed { background: var(--relaxed-ground); color: var(--relaxed); }
.tag { border-radius: 5px; padding: 1px 8px; font-size: 12px; white-space: nowrap; }
.list { width: 100%; font-size: 14px; }
.list td, .list th { padding: 5px 12px 5px 0; vertical-align: top; text-align: left;
  border-top: 1px solid var(--line); font-weight: 400; } .list tr:first-child > * { border-top: 0; }
.list.facts th { color: var(--soft); width: 120px; }
.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
svg .in { fill: var(--some); } svg .over { fill: var(--bad); }
.list td { overflow-wrap: anywhere; } .wide td > * { white-space: nowrap; }
@media (max-width: 640px) { main { padding: 16px 10px 60px; } section { padding: 14px 12px; }
  .list td, .list th { padding-right: 8px; } .number, .tag { white-space: normal; } .list.facts th { width: 84px; } }
#filter { font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--line); border-radius: 7px;
  padding: 5px 10px; margin-bottom: 12px; width: 240px; }
"""

SCRIPT = """
document.getElementById("filter")?.addEventListener("input", event => {
  const wanted = event.target.value.toLowerCase();
  for (const row of document.querySelectorAll(".matrix tbody tr")) row.hidden = !row.dataset.name.includes(wanted);
});
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body><main>
<h1>$title</h1>
$body
</main><script>$script</script></body>
</html>
"""
