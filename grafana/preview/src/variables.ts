/** A dashboard's variables, as Grafana fills them into queries and titles. Pure. */

import type { Variable } from './dashboard';

/** A variable with its value: what queries get, and what people read. */
export interface Filled {
  name: string;
  label: string;
  text: string;
  /** As it stands in PromQL without a format. */
  value: string;
  /** The chosen values, for formats that are asked for: `${name:csv}`. */
  values: string[];
  hidden: boolean;
}

const ALL = '$__all';
const REFERENCE = /\$(\w+)|\$\{(\w+)(?::(\w+))?\}|\[\[(\w+)(?::(\w+))?\]\]/g;

/** A variable of a query, a list or a constant, with the values there are to choose from; `chosen` goes before the
 * JSON's own. */
export function filled(variable: Variable, options: string[], chosen?: string[]): Filled {
  const wanted = chosen ?? [variable.current?.value ?? []].flat();
  const known = wanted.filter((value) => value === ALL || chosen || options.includes(value));
  const all = variable.includeAll === true && (known.length === 0 || known.includes(ALL));
  const values = all ? options : known.length > 0 ? known : options.slice(0, 1);
  const byRegex = variable.multi === true || variable.includeAll === true;
  return {
    name: variable.name,
    label: variable.label || variable.name,
    text: all ? 'All' : values.join(' + '),
    value: all && variable.allValue ? variable.allValue : byRegex ? regex(values) : values.map(escapeString).join(','),
    values,
    hidden: variable.hide === 2,
  };
}

/** A variable that Grafana makes itself, such as `__interval`. */
export function builtIn(name: string, value: string): Filled {
  return { name, label: name, text: value, value, values: [value], hidden: true };
}

/** A query with its variables filled in; unknown ones stay, as in Grafana. */
export function fillQuery(query: string, variables: Filled[]): string {
  return replace(query, variables, (variable, format) => (format ? formatted(variable, format) : variable.value));
}

/** A title with its variables filled in as people read them. */
export function fillText(text: string, variables: Filled[]): string {
  return replace(text, variables, (variable) => variable.text);
}

/** The options that a variable's own regex leaves, by its first group if it has one. */
export function matching(options: string[], pattern: string | undefined): string[] {
  if (!pattern) {
    return options;
  }
  const [, source = pattern, flags = ''] = /^\/(.*)\/(\w*)$/.exec(pattern) ?? [];
  const found = options.flatMap((option) => {
    const match = new RegExp(source, flags.replace('g', '')).exec(option);
    return match ? [match[1] ?? match[0]] : [];
  });
  return [...new Set(found)];
}

function replace(text: string, variables: Filled[], put: (variable: Filled, format?: string) => string): string {
  return text.replace(REFERENCE, (whole: string, ...groups: Array<string | undefined>) => {
    const [plain, braced, format, bracketed, bracketedFormat] = groups;
    const variable = variables.find(({ name }) => name === (plain ?? braced ?? bracketed));
    return variable ? put(variable, format ?? bracketedFormat) : whole;
  });
}

function formatted({ values, value }: Filled, format: string): string {
  switch (format) {
    case 'regex':
      return value;
    case 'pipe':
      return values.join('|');
    case 'raw':
    case 'csv':
      return values.join(',');
    default:
      throw new Error(`variable format ":${format}": not known; use regex, pipe, csv or raw`);
  }
}

function regex(values: string[]): string {
  // twice, for the expression stands in a quoted string of PromQL
  const escaped = values.map((value) => value.replace(/[\\^$*+?.()|[\]{}]/g, '\\\\$&'));
  return escaped.length === 1 ? escaped[0] : `(${escaped.join('|')})`;
}

function escapeString(value: string): string {
  return value.replace(/[\\"']/g, '\\$&');
}
