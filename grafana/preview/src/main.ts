/** Draws dashboards as PNG files. */

import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { type Options, parsed } from './arguments';
import { askPanel, askVariables, queried } from './ask';
import { bundle, drawingPage, launch } from './browser';
import type { Dashboard, Panel } from './dashboard';
import type { Picture } from './picture';
import { Prometheus } from './prometheus';
import { timeRange } from './timing';

const DASHBOARDS = join(__dirname, '../..');
/** Pixels. */
const WIDTH = 1600;

async function main(): Promise<number> {
  const options = parsed(process.argv.slice(2));
  const bundled = await bundle();
  const browser = await launch();
  try {
    await mkdir(options.out, { recursive: true });
    let problems = 0;
    for (const name of options.names) {
      const page = await drawingPage(browser, bundled, WIDTH);
      const found = await draw(name, options, page);
      found.forEach((problem) => console.error(`${name}: ${problem}`));
      problems += found.length;
      await page.close();
    }
    return problems > 0 ? 1 : 0;
  } finally {
    await browser.close();
  }
}

/** Draws one dashboard, also where something is wrong with it; returns what is. */
async function draw(name: string, options: Options, page: Page): Promise<string[]> {
  const picture = await ask(name, options);
  const thrown: string[] = [];
  page.on('pageerror', (error) => thrown.push(error.message));
  const problems = await page.evaluate(
    ([given, width, allowEmpty]) => window.draw(given, width, allowEmpty),
    [picture, WIDTH, options.allowEmpty] as const,
  );
  const path = join(options.out, `${name}.png`);
  await shoot(page, path);
  console.log(path);
  return [...problems, ...thrown];
}

/** The whole page as a PNG file. */
async function shoot(page: Page, path: string): Promise<void> {
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  // Chromium does not paint the tables that are out of its window
  await page.setViewportSize({ width: WIDTH, height });
  // the icons have come
  await page.waitForLoadState('networkidle');
  await page.screenshot({ path, animations: 'disabled' });
}

async function ask(name: string, { prometheus: url, last, variables: chosen }: Options): Promise<Picture> {
  const dashboard = await read(name);
  const prometheus = new Prometheus(url);
  const range = timeRange(last ? { from: `now-${last}`, to: 'now' } : dashboard.time, Date.now());
  const variables = await askVariables(dashboard, prometheus, range, chosen);
  const answered = async (panel: Panel) => [panel.id, await askPanel(panel, prometheus, range, variables, WIDTH)];
  const answers = Object.fromEntries(await Promise.all(queried(dashboard).map(answered)));
  return { dashboard, range, variables, answers };
}

async function read(name: string): Promise<Dashboard> {
  try {
    return JSON.parse(await readFile(join(DASHBOARDS, `${name}.json`), 'utf8'));
  } catch (error) {
    throw new Error(`${name} is no dashboard: ${(error as Error).message}`);
  }
}

main().then(
  (status) => {
    process.exitCode = status;
  },
  (error: Error) => {
    console.error(error.message);
    process.exitCode = 2;
  },
);
