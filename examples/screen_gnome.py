#!/usr/bin/env python
"""Screen crystals for hard materials: read, predict, record, flag, and find the results again.

    verdi run examples/screen_gnome.py
    verdi run examples/screen_gnome.py --gnome DIR_OR_ZIP

With `--gnome` (or the folder named by $GNOME_DATA) the crystals are those of a GNoME release. Without, they are the
embedded default: hypothetical crystals made by substituting elements into known prototypes, and well-known hard and
soft materials. Run it again: what is done already is reused.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click
from aiida import orm

from aiida_cgcnn_elastic.cli.inputs import all_cores, check_potential, find_model, ingest_builder, read_criteria
from aiida_cgcnn_elastic.cli.launch import DaemonNotRunningError, check_daemon, launch
from aiida_cgcnn_elastic.cli.releases import find_gnome
from aiida_cgcnn_elastic.cli.report import (
    candidates_table,
    controls_text,
    counts_text,
    failure_text,
    find_again_text,
    reuse_text,
    screening_stages,
    stages_table,
)
from aiida_cgcnn_elastic.cli.setup import load_default_profile, setup_localhost
from aiida_cgcnn_elastic.query import candidates, predictions
from aiida_cgcnn_elastic.workflows.label import free_label
from aiida_cgcnn_elastic.workflows.screen import ScreenWorkChain


@click.command(help=__doc__)
@click.option('--gnome', type=click.Path(path_type=Path), help='Folder or zip file of a GNoME release.')
@click.option('--model', default='accurate', show_default=True, help='A shipped model, or the PK of a model node.')
@click.option('--refine', is_flag=True, help='Predict the best again with the model `refined`; needs the extra refine.')
@click.option('--top', type=click.IntRange(min=1), default=20, show_default=True, help='How many candidates to print.')
@click.option('--criteria', type=click.Path(exists=True, path_type=Path), help='JSON or YAML file of criteria.')
@click.option('--label', help='Label of the screening; made from the source if not given.')
@click.option('--daemon', is_flag=True, help='Submit to the daemon instead of running here.')
def main(
    gnome: Path | None, model: str, refine: bool, top: int, criteria: Path | None, label: str | None, daemon: bool
) -> None:
    """Screen crystals and print what was found."""
    # What is wrong with the options shows now, not after a long reading.
    chosen = read_criteria(criteria) if criteria else None
    if refine:
        check_potential()

    # 1. A profile, the computer `localhost`, the code `cgcnn-elastic`, and caching.
    profile = load_default_profile()
    if daemon:
        check_daemon()
    setup = setup_localhost()
    for line in (*setup.changes, *setup.notes):
        print(f'Setup: {line}.')
    print(f'Profile {profile.name}, code {setup.code.full_label}.')
    model_node = find_model(model)

    # 2. The crystals: files become nodes, and a job packs what is in them into one CrystalSetData.
    if gnome is None and os.environ.get('GNOME_DATA'):
        gnome = Path(os.environ['GNOME_DATA'])
    if gnome is None:
        name, paths = 'prototypes', []
        print('No GNoME release (neither --gnome nor $GNOME_DATA): using the EMBEDDED DEFAULT, hypothetical crystals')
        print('made from known prototypes, with well-known hard and soft materials as controls.')
    else:
        name, paths = 'gnome', find_gnome(gnome)
        print(f'GNoME release: {", ".join(str(path) for path in paths)}.')

    start = time.perf_counter()
    ingest = launch(ingest_builder(setup.code, paths, source=name), daemon=daemon)
    if not ingest.is_finished_ok:
        sys.exit(failure_text(ingest))
    stages = [('Reading crystals', time.perf_counter() - start, reuse_text(ingest))]
    crystals = ingest.outputs.crystals
    print(f'Crystals: {crystals.n_crystals:,} in node {crystals.pk}.')

    # 3. The screening: shards are predicted, every prediction is recorded as a node, the candidates are flagged.
    # In a second stage a better and slower model predicts the crystals above a cut again, and flags by that.
    builder = ScreenWorkChain.get_builder_from_protocol(
        setup.code,
        crystals={name: crystals},
        models={'model': model_node},
        label=label or name,
        protocol='refined' if refine else None,
        overrides={'max_concurrent': 1},  # One job at a time, because each uses every core.
        options=all_cores(),
        criteria=chosen,
    )
    if label is None:
        # A label belongs to one content: `gnome`, and `gnome-2` for other crystals, models or criteria.
        builder.label = orm.Str(free_label(name, ScreenWorkChain.get_fingerprint(builder)))
    label = builder.label.value
    print(f'Screening {label!r} with model {model!r}' + (", the best again with 'refined'." if refine else '.'))

    start = time.perf_counter()
    screening = launch(builder, daemon=daemon)
    stages.append(('Screening', time.perf_counter() - start, reuse_text(screening)))
    stages.extend(screening_stages(screening))
    if not screening.is_finished_ok:
        sys.exit(failure_text(screening))

    # 4. What was found, and how to find it again.
    found = candidates(label, limit=top)
    summary = screening.outputs.summary.get_dict()
    print(f'\nThe best {len(found)} of {summary["n_candidates"]} candidates:\n')
    print(candidates_table(found))
    print('\nCrystals:')
    print(counts_text(summary))
    if name == 'prototypes':
        flagged = candidates(label, columns=['material_id'])['material_id']
        print('\nKnown materials among them:')
        print(controls_text(predictions(screening=label), flagged.tolist()))
    print('\nWall time:')
    print(stages_table(stages))
    print('\nFind these results again. ' + find_again_text(label, found['structure_pk'].tolist()))


if __name__ == '__main__':
    try:
        main()
    except (DaemonNotRunningError, FileNotFoundError, ValueError) as error:
        sys.exit(f'Error: {error}')
