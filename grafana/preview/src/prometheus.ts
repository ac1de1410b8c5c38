/** Prometheus' HTTP API, as far as it is asked (prometheus.io/docs/prometheus/latest/querying/api). */

/** A value as Prometheus writes it: seconds since the epoch, and a number as text (`NaN`, `+Inf`). */
export type Sample = [number, string];

export interface Series {
  metric: Record<string, string>;
  values: Sample[];
}

type Instant =
  | { resultType: 'vector'; result: Array<{ metric: Record<string, string>; value: Sample }> }
  | { resultType: 'scalar'; result: Sample };

/** Milliseconds until a query is given up. */
const PATIENCE = 30_000;

/** A server; all it is asked throws an Error that says what it refused, or that it does not answer. */
export class Prometheus {
  constructor(private readonly url: string) {}

  /** Times in milliseconds since the epoch, aligned to the step as Grafana does. */
  async range(query: string, from: number, to: number, step: number): Promise<Series[]> {
    const aligned = [from, to].map((time) => (Math.floor(time / step) * step) / 1000);
    const answer = await this.get<{ result: Series[] }>('query_range', {
      query,
      start: `${aligned[0]}`,
      end: `${aligned[1]}`,
      step: `${step / 1000}`,
    });
    return answer.result;
  }

  /** Each series with its one value at `time`, in milliseconds since the epoch. */
  async instant(query: string, time: number): Promise<Series[]> {
    const answer = await this.get<Instant>('query', { query, time: `${time / 1000}` });
    return answer.resultType === 'scalar'
      ? [{ metric: {}, values: [answer.result] }]
      : answer.result.map(({ metric, value }) => ({ metric, values: [value] }));
  }

  /** The values of a label, of the series that `selector` finds between two times. */
  labelValues(label: string, selector: string | undefined, from: number, to: number): Promise<string[]> {
    const between = { start: `${from / 1000}`, end: `${to / 1000}` };
    return this.get(`label/${label}/values`, selector ? { ...between, 'match[]': selector } : between);
  }

  private async get<Data>(path: string, parameters: Record<string, string>): Promise<Data> {
    const url = `${this.url.replace(/\/$/, '')}/api/v1/${path}?${new URLSearchParams(parameters)}`;
    let answer: { status: string; error?: string; data: Data };
    try {
      answer = await (await fetch(url, { signal: AbortSignal.timeout(PATIENCE) })).json();
    } catch (error) {
      throw new Error(`Prometheus does not answer at ${this.url}: ${reason(error)}`);
    }
    if (answer.status !== 'success') {
      throw new Error(answer.error);
    }
    return answer.data;
  }
}

function reason(error: unknown): string {
  const { cause, message } = error as Error;
  return cause instanceof Error ? cause.message : message;
}
