/** The command line. */

import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

const USAGE = `picture --prometheus URL --out FOLDER [--last 15m] [--var NAME=VALUE[,VALUE]]... [--allow-empty] NAME...

NAME is a dashboard: grafana/NAME.json becomes FOLDER/NAME.png, 1600 pixels wide.`;

export interface Options {
  prometheus: string;
  out: string;
  last?: string;
  variables: Map<string, string[]>;
  allowEmpty: boolean;
  names: string[];
}

/** Throws an Error for arguments that are not of the usage. */
export function parsed(args: string[]): Options {
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
