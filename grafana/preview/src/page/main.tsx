/** The page in the browser: draws what it is handed, and says what it could not draw. */

import { createTheme, type GrafanaTheme2, ThemeContext } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { GlobalStyles, PortalContainer } from '@grafana/ui';
import type { ReactNode } from 'react';
import { flushSync } from 'react-dom';
import { createRoot } from 'react-dom/client';
import type { Panel } from '../dashboard';
import { frames } from '../frames';
import { prepared, registerTransformers } from '../grafana/fields';
import { PANELS } from '../panels';
import type { Picture } from '../picture';
import { DashboardPage } from './dashboard';
import type { Drawn } from './panel';
import { isEmpty, refused } from './problems';

declare global {
  interface Window {
    /** Draws a dashboard `width` pixels wide; resolves to its problems, a line each. */
    draw(picture: Picture, width: number, allowEmpty: boolean): Promise<string[]>;
  }
}

window.draw = async (picture, width, allowEmpty) => {
  registerTransformers();
  await initPluginTranslations('grafana-ui');
  const theme = createTheme({ colors: { mode: 'dark' } });
  const problems: string[] = [];
  const report = (panel: Panel, problem: string) => problems.push(`panel ${panel.id} "${panel.title}": ${problem}`);

  const drawn = new Map<number, Drawn>();
  for (const panel of picture.dashboard.panels.filter(({ type }) => type !== 'row')) {
    const found = await look(panel, picture, theme, allowEmpty);
    found.problems.forEach((problem) => report(panel, problem));
    drawn.set(panel.id, { frames: found.frames, problem: found.problems[0] });
  }

  const root = createRoot(document.getElementById('root')!);
  const show = (content: ReactNode) =>
    flushSync(() =>
      root.render(
        <ThemeContext.Provider value={theme}>
          <GlobalStyles />
          <PortalContainer />
          {content}
        </ThemeContext.Provider>,
      ),
    );
  show(null);
  // before the charts, for what is drawn on a canvas stays in the font that was there
  await Promise.all([400, 500].map((weight) => document.fonts.load(`${weight} 12px Inter`)));
  show(
    <DashboardPage
      picture={picture}
      drawn={drawn}
      width={width}
      onError={(panel, error) => report(panel, error.message)}
    />,
  );
  await settled();
  return problems;
};

/** A panel's data, ready to be drawn, and all that is wrong with it. */
async function look(panel: Panel, picture: Picture, theme: GrafanaTheme2, allowEmpty: boolean) {
  if (!PANELS[panel.type]) {
    return { frames: [], problems: [`type "${panel.type}" is not drawn; known are ${Object.keys(PANELS).join(', ')}`] };
  }
  if (panel.repeat) {
    return { frames: [], problems: [`repeat: "${panel.repeat}": not drawn; write the panels out`] };
  }
  const answers = picture.answers[panel.id] ?? [];
  const problems = refused(answers);
  try {
    const found = await prepared(panel, frames(answers), theme);
    if (problems.length === 0 && !allowEmpty && isEmpty(panel, found)) {
      problems.push('no data');
    }
    return { frames: found, problems };
  } catch (error) {
    return { frames: [], problems: [...problems, (error as Error).message] };
  }
}

/** What measures itself has drawn again. */
async function settled(): Promise<void> {
  for (let frame = 0; frame < 3; frame += 1) {
    await nextFrame();
  }
}

function nextFrame(): Promise<unknown> {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}
