"""What is printed: tables, counts, times, and how to find the results again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

if TYPE_CHECKING:
    import pandas as pd
    from aiida.orm import ProcessNode

    from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData

__all__ = (
    'candidates_table',
    'controls_text',
    'counts_text',
    'digits',
    'error_columns',
    'failure_text',
    'find_again_text',
    'format_frame',
    'labels_text',
    'metrics_table',
    'prediction_text',
    'predictions_table',
    'reuse_text',
    'screening_stages',
    'stages_table',
)


def space_group(number: float | None) -> str:
    """Return a space group as `Fd-3m (227)`; a dash where it is not known."""
    import gemmi

    if number is None or number != number:
        return '-'
    name = gemmi.find_spacegroup_by_number(int(number)).short_name()
    # gemmi writes H for a rhombohedral lattice on hexagonal axes, where the International Tables write R.
    name = name.replace('H', 'R', 1) if name.startswith('H') else name
    return f'{name} ({int(number)})'


def modulus(gigapascal: float, log10: float, std: float | None = None) -> str:
    """Return a modulus as `412 ±40 (2.615)`: GPa, the standard deviation where it is known, and the log10.

    ``std`` is that of the log10.
    """
    if std is None or std != std:
        return f'{gigapascal:.0f} ({log10:.3f})'
    return f'{gigapascal:.0f} ±{gigapascal * math.log(10) * std:.0f} ({log10:.3f})'


def share(value: float | None) -> str:
    """Return a number from 0 to 1 with two digits; a dash where it is not known."""
    return '-' if value is None or value != value else f'{value:.2f}'


def candidates_table(frame: pd.DataFrame) -> str:
    """Return candidates as a table, in the order of the frame (columns as `query.candidates` gives them)."""
    several = frame['screening'].nunique() > 1 if 'screening' in frame else False
    first = {**({'screening': 'Screening'} if several else {}), 'rank': 'Rank'}
    return _table(frame, first, 'structure_pk', 'No candidate.')


def predictions_table(frame: pd.DataFrame) -> str:
    """Return predictions as a table, in the order of the frame (columns as `query.predictions` gives them)."""
    return _table(frame, {}, 'pk', 'No prediction.')


def _table(frame: pd.DataFrame, first: Mapping[str, str], pk: str, empty: str) -> str:
    if frame.empty:
        return empty
    has_stages = 'hardness_first_stage' in frame.columns
    has_stress = 'residual_stress' in frame.columns and frame['residual_stress'].notna().any()
    rows = [
        {
            **{title: row[column] for column, title in first.items()},
            'Formula': row['formula'],
            'Material': row['material_id'],
            'Space group': space_group(row.get('space_group_number')),
            'K / GPa (log10)': modulus(row['k_vrh'], row['log10_k_vrh'], row.get('log10_k_vrh_std')),
            'G / GPa (log10)': modulus(row['g_vrh'], row['log10_g_vrh'], row.get('log10_g_vrh_std')),
            'K/G': f'{row["pugh_ratio"]:.2f}',
            'H Chen / GPa': f'{row["hardness_chen"]:.1f}',
            **({'1st stage': _number(row['hardness_first_stage'])} if has_stages else {}),
            'P(cand.)': share(row.get('p_candidate')),
            'Novelty': share(row.get('novelty')),
            **({'Stress / GPa': _number(row['residual_stress'])} if has_stress else {}),
            'PK': row[pk],
        }
        for row in frame.to_dict('records')
    ]
    align = [*('right' if title == 'Rank' else 'left' for title in first.values()), *['left'] * 3]
    align += ['right'] * (7 + has_stages + has_stress)
    return tabulate(rows, headers='keys', tablefmt='simple', colalign=align, disable_numparse=True)


def _number(value: float | None) -> str:
    """Return a number with one digit; a dash where it is not known, as the hardness of a first stage where none was."""
    return '-' if value is None or value != value else f'{value:.1f}'


def format_frame(frame: pd.DataFrame, how: str, table: Callable[[pd.DataFrame], str]) -> str:
    """Return a frame as `table` (made by the function), `csv` or `json` (a list of objects; missing is null)."""
    if how == 'csv':
        return frame.to_csv(index=False).rstrip('\n')
    if how == 'json':
        return json.dumps(json.loads(frame.to_json(orient='records')), indent=1)
    return table(frame)


def counts_text(summary: Mapping[str, Any]) -> str:
    """Return where the crystals of a screening went, from its output `summary`."""
    lines = [
        ('read', summary['n_read'], ''),
        ('rejected', summary['n_rejected'], _reasons(summary['rejected_by_reason'])),
        ('excluded', summary['n_excluded'], _reasons(summary['excluded_by_reason'])),
    ]
    if summary['n_not_predicted']:
        lines.append(('not predicted', summary['n_not_predicted'], 'in shards that failed'))
    taken = f'{summary["n_taken"]:,} of them by earlier screenings' if summary.get('n_taken') else ''
    lines.append(('predicted', summary['n_predicted'], taken))
    if 'n_chosen' in summary:
        kept = (
            f'{summary["n_kept"]:,} kept as they were: {_reasons(summary["kept_by_reason"])}'
            if summary['n_kept']
            else ''
        )
        failed = f'{summary["n_not_refined"]:,} not: in shards that failed' if summary['n_not_refined'] else ''
        lines.append(('  refined', summary['n_refined'], '; '.join(text for text in (kept, failed) if text)))
    if 'n_candidates' in summary:
        n_failed = sum(summary['failed_by_reason'].values())
        lines.append(('  not flagged', n_failed, _reasons(summary['failed_by_reason'])))
        lines.append(('  flagged', summary['n_candidates'], _unknown(summary['kept_unknown'])))
    return '\n'.join(f'  {name:<15}{count:>9,}  {why}'.rstrip() for name, count, why in lines)


def controls_text(predictions: pd.DataFrame, flagged: Collection[str]) -> str:
    """Return how a screening judged the known materials among its crystals; empty where there were none.

    Parameters
    ----------
    predictions
        As `query.predictions` gives them; the column `control` says hard, soft or layered for known ones.
    flagged
        Material ids of the candidates.
    """
    if 'control' not in predictions.columns:
        return ''
    lines = []
    for name, surprising in (('hard', False), ('soft', True), ('layered', True)):
        known = predictions[predictions['control'] == name]
        is_flagged = known['material_id'].isin(list(flagged))
        surprises = known['material_id'][is_flagged == surprising].tolist()
        what = 'flagged' if surprising else 'missed'
        lines.append(
            f'  {name:<8}{is_flagged.sum():>3} of {len(known)} flagged'
            + (f'; {what}: {", ".join(surprises)}' if surprises else '')
        )
    return '\n'.join(lines)


def _reasons(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ', '.join(f'{reason} {count:,}' for reason, count in ordered)


def _unknown(counts: Mapping[str, int]) -> str:
    return ', '.join(f'{count:,} with unknown {name}' for name, count in sorted(counts.items()) if count)


def stages_table(stages: Iterable[tuple[str, float, str]]) -> str:
    """Return a table of stages: name, wall time in seconds, remark."""
    return '\n'.join(f'  {name:<20}{seconds:>7.1f} s  {remark}'.rstrip() for name, seconds, remark in stages)


def screening_stages(screening: ProcessNode) -> list[tuple[str, float, str]]:
    """Return the wall time of the parts of a screening, in seconds: predicting, refining, recording and flagging."""
    from aiida import orm

    parts: dict[str, list[ProcessNode]] = {'predicting': [], 'refining': [], 'recording': [], 'flagging': []}
    for node in screening.called:
        if isinstance(node, orm.WorkChainNode):
            parts['refining' if node.process_label == 'RefineWorkChain' else 'predicting'].append(node)
        elif node.process_label == 'record_predictions':
            parts['recording'].append(node)
        elif node.process_label == 'flag_candidates':
            parts['flagging'].append(node)
    stages = []
    for name, nodes in parts.items():
        if nodes:
            # Shards run side by side: from the first start to the last end. The others run one after the other.
            spans = [(node.ctime, node.mtime) for node in nodes]
            if name in ('predicting', 'refining'):
                seconds = (max(end for _, end in spans) - min(start for start, _ in spans)).total_seconds()
            else:
                seconds = sum((end - start).total_seconds() for start, end in spans)
            stages.append((f'  {name}', seconds, ''))
        elif name not in ('predicting', 'refining'):
            stages.append((f'  {name}', 0.0, 'was done already'))
    return stages


def failure_text(process: ProcessNode) -> str:
    """Return why a process failed and where to read more."""
    reason = process.exit_message or process.exception or process.process_state.value
    lines = [f'{process.process_label} {process.pk} failed: {reason}', f'See: verdi process report {process.pk}']
    if 'summary' in process.outputs:
        lines.append(counts_text(process.outputs.summary.get_dict()))
    return '\n'.join(lines)


UNITS = {
    'log10_k_vrh': 'log10(GPa)',
    'log10_g_vrh': 'log10(GPa)',
    **{f'log10_{m}_vrh_{kind}': 'log10(GPa)' for kind in ('std', 'low', 'high', 'spread') for m in 'kg'},
    'log10_k_vrh_reference': 'log10(GPa)',
    'log10_g_vrh_reference': 'log10(GPa)',
    'k_vrh': 'GPa',
    'g_vrh': 'GPa',
    'youngs_modulus': 'GPa',
    'hardness_chen': 'GPa',
    'hardness_chen_low': 'GPa',
    'hardness_chen_high': 'GPa',
    'hardness_tian': 'GPa',
    'hardness_teter': 'GPa',
    'hardness_mazhnik_oganov': 'GPa',
    'residual_stress': 'GPa',
    'band_gap': 'eV',
    'energy_above_hull': 'eV/atom',
    'formation_energy': 'eV/atom',
    'decomposition_energy': 'eV/atom',
    'density': 'g/cm3',
    'volume_per_atom': 'A3',
}


def prediction_text(node: ElasticPredictionData, candidates: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return all of a prediction with its units, and where it comes from, step by step.

    Parameters
    ----------
    node : ElasticPredictionData
    candidates : sequence of mapping
        What the candidates that it was flagged for say of themselves, each with its ``pk``. Where there is one,
        ``p_candidate`` is about its criteria; else about the default thresholds, as the prediction is recorded.
    """
    from aiida_cgcnn_elastic.query import provenance

    values, meant = node.get_dict(), 'default thresholds'
    if len(candidates) == 1:
        meant = f'criteria of {candidates[0]["screening"]!r}'
        values['p_candidate'] = candidates[0]['p_candidate']
    units = {**UNITS, 'p_candidate': meant}
    rows = [
        (name, _value(value), units.get(name, ''))
        for name, value in values.items()
        if name not in ('model_content', 'elements')
    ]
    flagged = [_flagged(candidate) for candidate in candidates]
    title = f'{node.material_id}, {node.description} (prediction {node.pk})'
    return '\n'.join(
        [
            title,
            '=' * len(title),
            tabulate(rows, tablefmt='plain', disable_numparse=True, colalign=('left', 'right', 'left')),
            '',
            *(['Flagged as candidate:', *flagged, ''] if flagged else []),
            'Where it comes from:',
            *_story(provenance(node)),
        ]
    )


def _flagged(candidate: Mapping[str, Any]) -> str:
    return (
        f'- number {candidate["rank"]} of {candidate["screening"]!r} (PK {candidate["pk"]}): hardness '
        f'{candidate["hardness"]:.1f} GPa ({candidate["hardness_law"]}), p_candidate {_value(candidate["p_candidate"])}'
    )


def _value(value: Any) -> str:
    if value is None:
        return '-'
    return f'{value:.4f}' if isinstance(value, float) else str(value)


def _story(story: Mapping[str, Any]) -> list[str]:
    """Return the steps of a prediction's provenance, latest first, a line or more each."""
    lines = [] if story['recording'] is None else [_step('recorded by', story['recording'])]
    lines.append(_step('one of the prediction set', story['prediction_set']))
    if story['prediction_job'] is None:
        return [*lines, 'which was not made by a job in this database']
    lines.append(_step('predicted by the job', story['prediction_job']))
    for model in story['models']:
        lines.append(_step(f'with the model {model["name"]!r}', model))
        if model['training_job'] is not None:
            lines.append('  ' + _step('trained by the job', model['training_job']))
            lines.extend('  ' + line for line in _crystal_set('on the crystal set', model['training_set']))
        else:
            lines.extend(f'  {line}' for line in _training(model['training']))
    return [*lines, *_crystal_set('from the crystal set', story['crystal_set'])]


def _step(what: str, node: Mapping[str, Any]) -> str:
    return f'- {what} {node["uuid"]}'


def _training(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what a model's card says of its training, where it was not trained in this database."""
    lines = []
    for record in records:
        data = record.get('data', {})
        origin = data.get('origin', {})
        n_crystals = record['n_crystals']
        lines.append(
            f'- trained with the protocol {record["protocol"]["name"]!r} and the seed {record["seed"]} on '
            + ' and '.join(f'{count:,} {part} crystals' for part, count in n_crystals.items() if count)
            + f' (source {origin.get("source", "not said")})'
        )
        lines.extend(f'  - {file["name"]}, SHA-256 {file["sha256"]}' for file in origin.get('files', []))
    return lines


def _crystal_set(what: str, crystals: Mapping[str, Any]) -> list[str]:
    origin = crystals['origin']
    lines = [f'{_step(what, crystals)}: {crystals["n_crystals"]:,} crystals of {origin.get("source")}']
    if crystals['ingestion'] is not None:
        lines.append('  ' + _step('read by the job', crystals['ingestion']))
    lines.extend(f'  - {file["name"]}, SHA-256 {file["sha256"]}' for file in origin.get('files', []))
    if origin.get('licence'):
        lines.append(f'  - licence: {origin["licence"]}')
    return lines


def metrics_table(
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]],
    study: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """Return the errors of a training, part by part, beside mean absolute errors to compare with where they are given.

    Parameters
    ----------
    metrics
        Target, then part, then `n`, `mae`, `rmse`, `r2`, `spearman`: as the output `metrics` of a training.
    study
        Target, then part: mean absolute error.
    """
    rows = [
        {
            'Target': target,
            'Part': part,
            **error_columns(values),
            **({} if study is None else {"Study's MAE": digits(study.get(target, {}).get(part))}),
        }
        for target, parts in sorted(metrics.items())
        for part, values in parts.items()
    ]
    align = ('left', 'left', *['right'] * (5 if study is None else 6))
    return tabulate(rows, headers='keys', tablefmt='simple', colalign=align, disable_numparse=True)


def error_columns(values: Mapping[str, Any]) -> dict[str, str]:
    """Return how well predictions agree with known moduli, by the title of the column in a table."""
    return {
        'Crystals': f'{values["n"]:,}',
        'MAE': digits(values['mae']),
        'RMSE': digits(values['rmse']),
        'R2': digits(values['r2']),
        'Spearman': digits(values['spearman']),
    }


def digits(value: float | None) -> str:
    """Return a measure with four digits; a dash where it is not known, as R2 of values that do not vary."""
    return '-' if value is None else f'{value:.4f}'


def labels_text(report: Mapping[str, Any]) -> str:
    """Return how many crystals a job could learn from, or be measured by, from its output `report`."""
    return (
        f'{report["n_crystals"]:,} crystals with known moduli, {report["n_without_label"]:,} without, '
        f'{report["n_rejected"]:,} rejected'
    )


def reuse_text(process: ProcessNode) -> str:
    """Say which jobs of a process were reused from earlier ones, and why not where none was."""
    from aiida import orm
    from aiida.manage.caching import get_use_cache

    nodes = [process, *getattr(process, 'called_descendants', [])]
    jobs = [node for node in nodes if isinstance(node, orm.CalcJobNode)]
    reused = [node for node in jobs if node.base.caching.is_created_from_cache]
    if not jobs:
        return 'reused earlier predictions'
    if len(reused) == len(jobs):
        return 'reused an earlier result'
    if reused:
        return f'reused {len(reused)} of {len(jobs)} jobs'
    if not all(get_use_cache(identifier=node.process_type) for node in jobs):
        return 'computed: caching is off in this profile'
    return 'computed: no earlier job has these inputs'


def find_again_text(label: str, pks: Sequence[int]) -> str:
    """Return the command line and the QueryBuilder snippet that find the results of a screening."""
    shown = pks[0] if pks else 'MATERIAL_ID'
    return f"""\
From the shell:
  aiida-cgcnn-elastic candidates --screening '{label}'
  aiida-cgcnn-elastic predictions --screening '{label}' --where 'log10_g_vrh>=2.0' --elements B
  aiida-cgcnn-elastic show {shown}

In `verdi shell`:
  from aiida import orm
  from aiida_cgcnn_elastic.groups import PredictionsGroup
  from aiida_cgcnn_elastic.data.elastic_prediction import ElasticPredictionData

  qb = orm.QueryBuilder()
  qb.append(PredictionsGroup, filters={{'label': {label!r}}}, tag='screening')
  qb.append(
      ElasticPredictionData,
      with_group='screening',
      filters={{'attributes.log10_g_vrh': {{'>=': 2.0}}}},  # always a float: with 2, SQLite loses rows
      project=['id', 'label', 'attributes.formula', 'attributes.log10_k_vrh', 'attributes.log10_g_vrh'],
  )
  for pk, material_id, formula, log10_k, log10_g in qb.iterall():
      print(pk, material_id, formula, log10_k, log10_g)"""
