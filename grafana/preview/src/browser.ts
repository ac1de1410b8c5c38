/** Chromium, and the page that it draws. */

import { accessSync, constants } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const ORIGIN = 'http://preview.invalid';
const DOCUMENT = `<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/main.css">
<body style="margin: 0"><div id="root"></div><script src="/main.js"></script></body>`;
const FONT = require.resolve('@fontsource-variable/inter/files/inter-latin-wght-normal.woff2');
const ICONS = join(dirname(require.resolve('@grafana/ui/package.json')), 'dist/public/img/icons');

/** A Chromium without a window, with a profile of its own that ends with it.
 *
 * Throws an Error where none is on PATH.
 */
export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: found(), args: FLAGS });
}

/** The page's program and its styles, with Grafana's components. */
export interface Bundle {
  script: string;
  styles: string;
}

/** A page with `window.draw`, `width` pixels wide. It reaches nothing but what is bundled here. */
export async function drawingPage(browser: Browser, { script, styles }: Bundle, width: number): Promise<Page> {
  const page = await browser.newPage({
    viewport: { width, height: 1000 },
    locale: 'en-US',
    timezoneId: 'UTC',
    reducedMotion: 'reduce',
  });
  await page.route('**/*', async (route) => {
    const path = new URL(route.request().url()).pathname;
    const [, icon] = /\/img\/icons\/(.+\.svg)$/.exec(path) ?? [];
    if (path === '/') {
      await route.fulfill({ contentType: 'text/html', body: DOCUMENT });
    } else if (path === '/main.js') {
      await route.fulfill({ contentType: 'text/javascript', body: script });
    } else if (path === '/main.css') {
      await route.fulfill({ contentType: 'text/css', body: styles });
    } else if (icon) {
      await route.fulfill({ contentType: 'image/svg+xml', body: await readFile(join(ICONS, icon)) });
    } else if (path.includes('/fonts/inter/')) {
      await route.fulfill({ contentType: 'font/woff2', body: await readFile(FONT) });
    } else {
      await route.abort();
    }
  });
  await page.goto(ORIGIN);
  return page;
}

export async function bundle(): Promise<Bundle> {
  const { outputFiles } = await build({
    entryPoints: [join(__dirname, 'page/main.tsx')],
    bundle: true,
    write: false,
    format: 'iife',
    jsx: 'automatic',
    outdir: '/',
    logLevel: 'error',
    define: { 'process.env.NODE_ENV': '"production"' },
    loader: { '.svg': 'dataurl', '.ttf': 'dataurl' },
  });
  const text = (ending: string) => outputFiles.find(({ path }) => path.endsWith(ending))?.text ?? '';
  return { script: text('.js'), styles: text('.css') };
}

function found(): string {
  const paths = (process.env.PATH ?? '').split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name)));
  const path = paths.find((each) => {
    try {
      accessSync(each, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!path) {
    throw new Error(`no browser: none of ${NAMES.join(', ')} is on PATH; install Debian's package chromium`);
  }
  return path;
}
