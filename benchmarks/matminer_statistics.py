"""What matminer's statistics of composition add to a perceptron: MAE in log10(GPa).

Usage: python benchmarks/matminer_statistics.py KVRH.json.gz GVRH.json.gz --out-of-fold out_of_fold.parquet

Takes the out-of-fold predictions that a training of `accurate` on these files left, and trains in the same folds
perceptrons (not taught) on our statistics of structure and composition, on these and matminer's (Magpie's properties
of elements, stoichiometry and valence orbitals: 146 numbers), and on the latter alone. Each is told alone and blended
with the networks of that training, by the weights that have the least error on these same predictions.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from matminer.featurizers.composition import ElementProperty, Stoichiometry, ValenceOrbital
from pymatgen.core import Composition

from aiida_cgcnn_elastic.baselines.features import property_table, structure_features
from aiida_cgcnn_elastic.cgcnn.blend import blend_weights
from aiida_cgcnn_elastic.cgcnn.graphs import build_graphs
from aiida_cgcnn_elastic.cgcnn.metrics import mae
from aiida_cgcnn_elastic.cgcnn.model import Normalizer
from aiida_cgcnn_elastic.cgcnn.perceptron import PerceptronRecipe, fit_perceptron
from aiida_cgcnn_elastic.crystals import CrystalTable, sources
from aiida_cgcnn_elastic.crystals.elements import more_element_properties

TARGETS = ('log10_k_vrh', 'log10_g_vrh')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', type=Path)
    parser.add_argument('--out-of-fold', type=Path, required=True)
    options = parser.parse_args()

    table = sources.read(sources.open_source(options.files)).table
    true = np.stack([table.column(name) for name in TARGETS], axis=1)
    fold, networks = out_of_fold(options.out_of_fold, table)
    own = structure_features(build_graphs(*table.arrays(), orientation=True), property_table(more_element_properties()))
    statistics, others = own[1], matminer_statistics(table)
    variants = {'ours': statistics, 'both': np.concatenate([statistics, others], axis=1), "matminer's": others}
    for name, values in variants.items():
        predicted = np.empty_like(true)
        for index in range(fold.max() + 1):
            inside, outside = np.flatnonzero(fold != index), np.flatnonzero(fold == index)
            normalizer = Normalizer.of(true[inside])
            standardised = normalizer.standardise(true)
            network = fit_perceptron(values, standardised, inside, PerceptronRecipe(), seed=index)
            predicted[outside] = normalizer.restore(network.predict(values[outside]))
        for place, target in enumerate(TARGETS):
            both = np.stack([networks[:, place], predicted[:, place]])
            blend = blend_weights(true[:, place], both) @ both
            alone, blended = mae(true[:, place], predicted[:, place]), mae(true[:, place], blend)
            print(f'{name}, {values.shape[1]}: {target} alone {alone:.4f}, blended {blended:.4f}', flush=True)


def out_of_fold(path: Path, table: CrystalTable) -> tuple[np.ndarray, np.ndarray]:
    """Return the fold of every crystal, and what the networks that did not see it predict, (m, 2)."""
    rows = {material_id: row for row, material_id in enumerate(table.material_ids)}
    fold, networks = np.full(len(table), -1), np.full((len(table), 2), np.nan)
    frame = pd.read_parquet(path)
    for place, target in enumerate(TARGETS):
        part = frame[frame['target'] == target]
        own = part['material_id'].map(rows).to_numpy()
        fold[own], networks[own, place] = part['fold'], part['network']
    return fold, networks


def matminer_statistics(table: CrystalTable) -> np.ndarray:
    """Return matminer's statistics of the composition, (m, 146) float32."""
    featurizers = [ElementProperty.from_preset('magpie'), Stoichiometry(), ValenceOrbital()]
    formulas = table.describe().column('formula').to_pylist()
    made = {}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for formula in set(formulas):
            composition = Composition(formula)
            made[formula] = np.concatenate([featurizer.featurize(composition) for featurizer in featurizers])
    return np.array([made[formula] for formula in formulas], dtype=np.float32)


if __name__ == '__main__':
    main()
