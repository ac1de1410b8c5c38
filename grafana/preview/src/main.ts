/** Draws dashboards as PNG files. */

import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { Page } from 'playwright-core';
import { askPanel, askVariables, queried } from './ask';
import { bundle, drawingPage, launch } from './browser';
import type { Dashboard } from './dashboard';
import type { Picture } from './picture';
import { Prometheus } from './prometheus';
import { timeRange } from './timing';

const USAGE = `picture --prometheus URL --out FOLDER [--last 15m] [--var NAME=VALUE[,VALUE]]... [--allow-empty] NAME...

NAME is a dashboard: grafana/NAME.json becomes FOLDER/NAME.png, 1600 pixels wide.`;
const DASHBOARDS = join(__dirname, '../..');
/** Pixels. */
const WIDTH = 1600;

interface Options {
  prometheus: string;
  out: string;
  last?: string;
  variables: Map<string, string[]>;
  allowEmpty: boolean;
  names: string[];
}

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
  await page.waitForLoadState('networkidle');
  const path = join(options.out, `${name}.png`);
  await page.screenshot({ path, fullPage: true, animations: 'disabled' });
  console.log(path);
  return [...problems, ...thrown];
}

async function ask(name: string, { prometheus: url, last, variables: chosen }: Options): Promise<Picture> {
  const dashboard: Dashboard = JSON.parse(await readFile(join(DASHBOARDS, `${name}.json`), 'utf8'));
  const prometheus = new Prometheus(url);
  const range = timeRange(last ? { from: `now-${last}`, to: 'now' } : dashboard.time, Date.now());
  const variables = await askVariables(dashboard, prometheus, range, chosen);
  const answers = await Promise.all(
    queried(dashboard).map(async (panel) => [panel.id, await askPanel(panel, prometheus, range, variables, WIDTH)] as const),
  );
  return { dashboard, range, variables, answers: Object.fromEntries(answers) };
}

/** Throws an Error for arguments that are not of the usage. */
function parsed(args: string[]): Options {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      prometheus: { type: 'string' },
      out: { type: 'string' },
      last: { type: 'string' },
      var: { type: 'string', multiple: true, default: [] },
      'allow-empty': { type: 'boolean', default: false },
    },
  });
  if (!values.prometheus || !values.out || positionals.length === 0) {
    throw new Error(`--prometheus, --out and a NAME are needed\n\n${USAGE}`);
  }
  return {
    prometheus: values.prometheus,
    // npm --prefix changes the folder, and says where it was called
    out: resolve(process.env.INIT_CWD ?? '.', values.out),
    last: values.last,
    variables: new Map(values.var.map(variable)),
    allowEmpty: values['allow-empty'],
    names: positionals,
  };
}

function variable(text: string): [string, string[]] {
  const [, name, value] = /^(\w+)=(.+)$/.exec(text) ?? [];
  if (!name) {
    throw new Error(`--var ${text}: write NAME=VALUE, several values with commas`);
  }
  return [name, value.split(',')];
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
