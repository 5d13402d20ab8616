//! Tensors of scales beside float8 numbers.

/// Returns the tensor among `names` that scales the float8 tensor `tensor`, by its name: that of the
/// tensor with `scale` added, or `scale` in the same module.
///
/// Libraries differ: `weight_scale`, `weight_scale_inv`, `scale_weight`, `weight.scale`, `scale`.
pub(super) fn scale_of<'a>(
    tensor: &str,
    mut names: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let (module, own) = split(tensor);
    names.find(|&name| {
        let (of, scale) = match name.strip_prefix(tensor).and_then(|rest| rest.strip_prefix('.')) {
            Some(scale) => (module, scale),
            None => split(name),
        };
        let parts: Vec<_> = scale.split('_').collect();
        let says_scale = parts.iter().any(|part| ["scale", "scales"].contains(part));
        let is_own = scale.starts_with(own) || scale.ends_with(own);
        let is_general =
            parts.iter().all(|part| ["scale", "scales", "inv", "inverse"].contains(part));
        of == module && says_scale && (is_own || is_general || name.starts_with(tensor))
    })
}

/// Splits a name into its module and its last part.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or(("", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_of_a_tensor_is_found_by_its_name() {
        let others = ["W_dec", "W_dec_scale", "b_enc", "h.1.weight_scale", "scaling_factor"];
        for (tensor, scale) in [
            ("h.0.weight", "h.0.weight_scale"),
            ("h.0.weight", "h.0.weight_scale_inv"),
            ("h.0.weight", "h.0.scale_weight"),
            ("h.0.weight", "h.0.weight.scale"),
            ("h.0.weight", "h.0.scale"),
            ("W_enc", "W_enc_scale"),
            ("W_enc", "W_enc.scale"),
            ("W_enc", "scale"),
            ("W_enc", "scale_inv"),
        ] {
            let names = || others.into_iter().chain([tensor]);
            assert_eq!(scale_of(tensor, names()), None, "{tensor}");
            assert_eq!(scale_of(tensor, names().chain([scale])), Some(scale), "{tensor}");
        }
    }
}
