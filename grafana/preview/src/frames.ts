/** Prometheus' answers as Grafana's data frames. Pure. */

import { createDataFrame, type DataFrame, type Field, FieldType, renderLegendFormat } from '@grafana/data';
import type { Answer } from './ask';
import type { Sample, Series } from './prometheus';

/** The frames of one panel's answers, in the form that each query asks for. */
export function frames(answers: Answer[]): DataFrame[] {
  return answers.flatMap((answer) => {
    if (answer.series.length === 0) {
      return [];
    }
    switch (answer.target.format) {
      case 'table':
        return [tableFrame(answer, answers.length > 1)];
      case 'heatmap':
        return [heatmapFrame(answer)];
      default:
        return answer.series.map((series) => seriesFrame(answer, series));
    }
  });
}

/** A frame a series. */
function seriesFrame({ target, step }: Answer, { metric, values }: Series): DataFrame {
  const name = legend(target.legendFormat, metric);
  const { __name__: _, ...labels } = metric;
  return createDataFrame({
    refId: target.refId,
    name,
    fields: [
      timeField(values, step),
      {
        name: 'Value',
        type: FieldType.number,
        labels,
        config: name === undefined ? {} : { displayNameFromDS: name },
        values: values.map(numberOf),
      },
    ],
  });
}

/** One frame of all series: time, a column a label, and the value, which several queries tell apart by their refId. */
function tableFrame({ target, series }: Answer, several: boolean): DataFrame {
  const rows = series.flatMap(({ metric, values }) => values.map((value) => ({ metric, value })));
  const labels = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return createDataFrame({
    refId: target.refId,
    fields: [
      timeField(rows.map(({ value }) => value)),
      ...labels.map((label) => ({
        name: label,
        type: FieldType.string,
        config: { filterable: true },
        values: rows.map(({ metric }) => metric[label] ?? ''),
      })),
      {
        name: several ? `Value #${target.refId}` : 'Value',
        type: FieldType.number,
        config: {},
        values: rows.map(({ value }) => numberOf(value)),
      },
    ],
  });
}

/** One frame of a histogram over time: a column a bucket, named by its upper edge; cumulative counts taken apart. */
function heatmapFrame({ target, series, step }: Answer): DataFrame {
  const buckets = series
    .map(({ metric, values }) => ({ edge: metric.le, at: new Map(values.map((value) => [value[0], numberOf(value)])) }))
    .sort((left, right) => edge(left.edge) - edge(right.edge));
  const times = [...new Set(series.flatMap(({ values }) => values.map(([time]) => time)))].sort((a, b) => a - b);
  return createDataFrame({
    refId: target.refId,
    fields: [
      timeField(
        times.map((time) => [time, '']),
        step,
      ),
      ...buckets.map((bucket, index) => ({
        name: bucket.edge,
        type: FieldType.number,
        config: {},
        values: times.map((time) => {
          const count = bucket.at.get(time);
          const below = index === 0 ? 0 : (buckets[index - 1].at.get(time) ?? 0);
          return count === undefined ? null : Math.max(0, count - below);
        }),
      })),
    ],
  });
}

function timeField(samples: Sample[], step = 0): Field<number> {
  return {
    name: 'Time',
    type: FieldType.time,
    // Grafana draws a gap where a point is missing by this
    config: step > 0 ? { interval: step } : {},
    values: samples.map(([time]) => time * 1000),
  };
}

/** By the query's legend; without one, Grafana names the series itself. */
function legend(format: string | undefined, metric: Record<string, string>): string | undefined {
  if (format === '__auto') {
    return undefined;
  }
  return format ? renderLegendFormat(format, metric) : selector(metric);
}

function selector({ __name__: name = '', ...labels }: Record<string, string>): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return `${name}{${pairs.join(', ')}}`;
}

function numberOf([, text]: Sample): number {
  return edge(text);
}

function edge(text: string): number {
  return text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);
}
