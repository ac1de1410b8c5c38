/** What the server's own code does before it draws a panel: field options, transformations, overrides. */

import {
  applyFieldOverrides,
  type ConfigOverrideRule,
  type DataFrame,
  displayNameOverrideProcessor,
  FieldConfigOptionsRegistry,
  type FieldConfigPropertyItem,
  type FieldConfigSource,
  FieldType,
  type GrafanaTheme2,
  identityOverrideProcessor,
  standardTransformers,
  standardTransformersRegistry,
  thresholdsOverrideProcessor,
  TransformerCategory,
  transformDataFrame,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';
import type { Panel } from '../dashboard';
import { fieldDefaults } from './defaults';

const PROCESSORS: Record<string, FieldConfigPropertyItem['process']> = {
  displayName: displayNameOverrideProcessor,
  thresholds: thresholdsOverrideProcessor,
};
const OF_NUMBERS = ['unit', 'min', 'max', 'decimals'];
const STANDARD = [...OF_NUMBERS, 'displayName', 'noValue', 'thresholds', 'mappings', 'color', 'links'];

/** Makes the transformations known that `@grafana/data` ships. */
export function registerTransformers(): void {
  // a set, for one of them stands there under two names
  const known = [...new Set(Object.values(standardTransformers))];
  standardTransformersRegistry.setInit(() =>
    known.map((info) => ({
      id: info.id,
      name: info.name,
      transformation: () => Promise.resolve(info),
      editor: () => null,
      categories: new Set<TransformerCategory>(),
      imageDark: '',
      imageLight: '',
    })),
  );
}

/** A panel's frames, transformed and with its field options.
 *
 * Throws an Error for a transformation that only a server has.
 */
export async function prepared(panel: Panel, frames: DataFrame[], theme: GrafanaTheme2): Promise<DataFrame[]> {
  const transformations = panel.transformations ?? [];
  for (const { id } of transformations) {
    if (!standardTransformersRegistry.getIfExists(id)) {
      throw new Error(`transformation "${id}" is not in @grafana/data`);
    }
  }
  const fieldConfig = withDefaults(panel);
  return applyFieldOverrides({
    data: await lastValueFrom(transformDataFrame(transformations, frames)),
    fieldConfig,
    fieldConfigRegistry: registry(fieldConfig.overrides),
    replaceVariables: (text) => text,
    theme,
    timeZone: 'utc',
  });
}

/** A panel's field options, with what Grafana takes where the JSON says nothing. */
export function withDefaults({ type, fieldConfig }: Panel): FieldConfigSource {
  const defaults = fieldDefaults(type);
  return {
    defaults: {
      ...defaults,
      ...fieldConfig?.defaults,
      custom: { ...defaults.custom, ...fieldConfig?.defaults.custom },
    },
    overrides: fieldConfig?.overrides ?? [],
  };
}

/** The options that fields may have: the standard ones, and those of a panel type that are overridden. */
function registry(overrides: ConfigOverrideRule[]): FieldConfigOptionsRegistry {
  const overridden = overrides.flatMap(({ properties }) => properties.map(({ id }) => id));
  const custom = [...new Set(overridden)].filter((id) => id.startsWith('custom.'));
  return new FieldConfigOptionsRegistry(() => [
    // a copy, for overrides write into it
    { ...option('custom', 'custom'), process: (value: unknown) => structuredClone(value) },
    ...STANDARD.map((id) => option(id, id)),
    ...custom.map((id) => ({ ...option(id, id.replace('custom.', '')), isCustom: true })),
  ]);
}

function option(id: string, path: string): FieldConfigPropertyItem {
  return {
    id,
    path,
    name: id,
    editor: () => null,
    override: () => null,
    process: PROCESSORS[id] ?? identityOverrideProcessor,
    shouldApply: ({ type }) => type === FieldType.number || !OF_NUMBERS.includes(id),
  };
}
