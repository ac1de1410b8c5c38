import {
  type FieldDisplay,
  getDisplayValueAlignmentFactors,
  type ReduceDataOptions,
  type VizOrientation,
} from '@grafana/data';
import type { BarGaugeDisplayMode, BarGaugeNamePlacement, BarGaugeValueMode } from '@grafana/schema';
import { BarGauge, useTheme2, VizRepeater } from '@grafana/ui';
import { OPTIONS } from '../grafana/defaults';
import type { PanelProps } from './props';
import { useValues } from './values';

interface BarGaugeOptions {
  displayMode: BarGaugeDisplayMode;
  valueMode: BarGaugeValueMode;
  namePlacement: BarGaugeNamePlacement;
  orientation: VizOrientation;
  showUnfilled: boolean;
  minVizWidth: number;
  minVizHeight: number;
  maxVizHeight: number;
  reduceOptions: ReduceDataOptions;
}

export function BarGaugePanel(props: PanelProps) {
  const { panel, frames, width, height } = props;
  const { reduceOptions, orientation, valueMode, minVizWidth, minVizHeight, maxVizHeight, ...bar } = {
    ...OPTIONS.bargauge,
    ...panel.options,
  } as unknown as BarGaugeOptions;
  const theme = useTheme2();
  const values = useValues(props, reduceOptions);
  return (
    <VizRepeater<FieldDisplay, ReturnType<typeof getDisplayValueAlignmentFactors>>
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      source={frames}
      width={width}
      height={height}
      renderCounter={0}
      itemSpacing={bar.displayMode === 'lcd' ? 2 : 10}
      orientation={orientation}
      minVizWidth={minVizWidth}
      minVizHeight={minVizHeight}
      maxVizHeight={maxVizHeight}
      renderValue={({ value: { field, display, view, colIndex }, alignmentFactors, ...size }) => (
        <BarGauge
          {...size}
          {...bar}
          value={display}
          field={field}
          display={view?.getFieldDisplayProcessor(colIndex ?? 0)}
          valueDisplayMode={valueMode}
          alignmentFactors={alignmentFactors}
          theme={theme}
        />
      )}
    />
  );
}
