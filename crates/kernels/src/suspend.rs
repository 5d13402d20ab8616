//! Reading numbers from a GPU in a browser, which has no calls that wait.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use burn::tensor::ExecutionError;
use js_sys::futures::future_to_promise;
use js_sys::wasm_bindgen::JsValue;

/// Waits for `numbers`. The program is suspended meanwhile and the page's events are handled (JavaScript Promise
/// Integration), so the function can only be called from an export with the attribute `jspi`, or from a task that
/// such an export has spawned.
///
/// # Panics
/// If the numbers cannot be read, or the program cannot be suspended here.
pub(crate) fn read<T: 'static>(
    numbers: impl Future<Output = Result<T, ExecutionError>> + 'static,
) -> T {
    let mut numbers = Box::pin(numbers);
    let read = |numbers: Result<T, ExecutionError>| numbers.expect("the device can be read");
    // Numbers that are there are not waited for.
    if let Poll::Ready(found) = numbers.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return read(found);
    }
    let place = Rc::new(RefCell::new(None));
    let found = Rc::clone(&place);
    let promise = future_to_promise(async move {
        found.replace(Some(numbers.await));
        Ok(JsValue::UNDEFINED)
    });
    // The one function of js-sys for this is marked as experimental.
    #[allow(deprecated)]
    js_sys::futures::jspi_block_on_promise(&promise).expect("the promise is kept");
    read(place.take().expect("the promise was kept"))
}
