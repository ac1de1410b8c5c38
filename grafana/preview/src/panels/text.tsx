import { renderTextPanelMarkdown } from '@grafana/data';
import { OPTIONS } from '../grafana/defaults';
import type { PanelProps } from './props';

export function TextPanel({ panel }: PanelProps) {
  const { mode, content } = { ...OPTIONS.text, ...panel.options } as { mode: string; content: string };
  if (mode !== 'markdown') {
    throw new Error(`text mode "${mode}" is not drawn; use markdown`);
  }
  return <div className="markdown-html" dangerouslySetInnerHTML={{ __html: renderTextPanelMarkdown(content) }} />;
}
