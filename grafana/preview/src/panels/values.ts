/** The single values that stat and bargauge panels show. */

import { type FieldDisplay, getFieldDisplayValues, type ReduceDataOptions } from '@grafana/data';
import { useTheme2 } from '@grafana/ui';
import { withDefaults } from '../grafana/fields';
import type { PanelProps } from './props';

/** A value a series, by the panel's reduction. */
export function useValues({ panel, frames }: PanelProps, reduceOptions: ReduceDataOptions): FieldDisplay[] {
  const theme = useTheme2();
  return getFieldDisplayValues({
    data: frames,
    reduceOptions,
    fieldConfig: withDefaults(panel),
    replaceVariables: (text) => text,
    sparkline: true,
    theme,
    timeZone: 'utc',
  });
}
