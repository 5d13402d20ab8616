//! Files that change between the header and the data.

use std::fs;

use nanoscope_checkpoint::{ActivationFile, Order, TensorFile};
use tempfile::TempDir;

use crate::writers::{ALL, Container};

#[test]
fn a_file_that_is_replaced_after_it_was_opened_is_read_as_it_was() {
    for container in ALL {
        let (dir, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let name = if matches!(container, Container::Npy(_)) { "tensor" } else { "w" };
        let write = |dir: &TempDir, value: f32| {
            container.write(dir.path(), &[("w", vec![2, 3], vec![value; 6])])
        };
        let path = write(&dir, 1.0);
        let file = TensorFile::open(&path).unwrap();
        let mut activations = ActivationFile::open(&path, None, 3).unwrap();

        fs::rename(write(&elsewhere, 2.0), &path).unwrap();

        for order in [Order::AsStored, Order::Transposed] {
            let shape = if order == Order::AsStored { [2, 3] } else { [3, 2] };
            let data = file.read(name, &shape, order).unwrap();
            assert_eq!(data.iter::<f32>().collect::<Vec<_>>(), [1.0; 6], "{container:?}");
        }
        assert_eq!(activations.read(0, 2).unwrap(), [1.0; 6], "{container:?}");
        fs::remove_file(&path).unwrap();
        assert_eq!(activations.read(1, 2).unwrap(), [1.0; 3], "{container:?}");
    }
}
