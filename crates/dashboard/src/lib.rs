//! Pages about features: a folder of static HTML, and Neuronpedia's export.
