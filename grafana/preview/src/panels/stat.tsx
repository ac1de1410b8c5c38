import {
  type FieldDisplay,
  getDisplayValueAlignmentFactors,
  type ReduceDataOptions,
  type VizOrientation,
} from '@grafana/data';
import type { PercentChangeColorMode, VizTextDisplayOptions } from '@grafana/schema';
import {
  BigValue,
  type BigValueColorMode,
  BigValueGraphMode,
  type BigValueJustifyMode,
  type BigValueTextMode,
  useTheme2,
  VizRepeater,
} from '@grafana/ui';
import { OPTIONS } from '../grafana/defaults';
import type { PanelProps } from './props';
import { useValues } from './values';

interface StatOptions {
  colorMode: BigValueColorMode;
  graphMode: BigValueGraphMode;
  justifyMode: BigValueJustifyMode;
  textMode: BigValueTextMode;
  orientation: VizOrientation;
  wideLayout: boolean;
  text?: VizTextDisplayOptions;
  percentChangeColorMode?: PercentChangeColorMode;
  reduceOptions: ReduceDataOptions;
}

export function StatPanel(props: PanelProps) {
  const { panel, frames, width, height, range } = props;
  const options = { ...OPTIONS.stat, ...panel.options } as unknown as StatOptions;
  const theme = useTheme2();
  const values = useValues(props, options.reduceOptions);
  const graph = options.graphMode !== BigValueGraphMode.None;
  return (
    <VizRepeater<FieldDisplay, ReturnType<typeof getDisplayValueAlignmentFactors>>
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      source={frames}
      width={width}
      height={height}
      renderCounter={0}
      itemSpacing={3}
      autoGrid
      orientation={options.orientation}
      renderValue={({ value: { display, sparkline }, alignmentFactors, count, ...size }) => (
        <BigValue
          {...size}
          value={display}
          count={count}
          sparkline={graph && sparkline ? { ...sparkline, timeRange: range } : undefined}
          colorMode={options.colorMode}
          graphMode={options.graphMode}
          justifyMode={options.justifyMode}
          textMode={options.textMode}
          text={options.text}
          alignmentFactors={alignmentFactors}
          disableWideLayout={!options.wideLayout}
          theme={theme}
        />
      )}
    />
  );
}
